"""From rows of data to rows of features: splits series, cleans, runs every feature, and says which rows are substitutes.

What depends on the training data (cloud scales, categories, which columns move) is settled once by learn() and travels with the model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys import errors
from mlsys.pipelines import availability, base, build, calendar, cleaning, past
from mlsys.pipelines.names import REFERENCE
from mlsys.records import Layout, Window

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Key = tuple[Any, ...]
NEAR = timedelta(hours=2)  # as far as the exogenous feature looks around a row
RowsOf = Callable[[Key, pd.DataFrame], pd.DatetimeIndex]
IssuedOf = Callable[[pd.DatetimeIndex], pd.DatetimeIndex]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a model knows of its data: the layout with exogenous columns named, options of each feature, and what learn() settled."""

    layout: Layout
    features: Mapping[str, Mapping[str, Any]]
    moving: cleaning.Moving
    categories: Mapping[str, Sequence[str]]
    beat: calendar.Beat
    components: Mapping[str, base.Feature] = field(compare=False)

    def lookback(self) -> timedelta:
        return max([f.lookback(self.layout) for f in self.components.values()], default=timedelta(0))

    def lookahead(self) -> timedelta:
        return max([f.lookahead(self.layout) for f in self.components.values()], default=timedelta(0))


@dataclass(frozen=True, kw_only=True)
class Features:
    """Rows to train on or to forecast, all arrays of one length. ``frame`` is indexed by timestamp; series keys are categorical columns."""

    frame: pd.DataFrame
    keys: pd.DataFrame
    issued: pd.DatetimeIndex
    day: calendar.Ints
    target: Floats
    reference: Floats
    active: Mask
    substituted: Mask

    def take(self, rows: Mask) -> "Features":
        values = {name: value[rows] for name, value in vars(self).items()}
        return Features(**values)

    def before(self, cutoff: datetime) -> Mask:
        """Which rows lie before ``cutoff``."""
        return calendar.instants(pd.DatetimeIndex(self.frame.index)) < calendar.instant(cutoff)

    def __len__(self) -> int:
        return len(self.frame)


def split(frame: pd.DataFrame, layout: Layout) -> dict[Key, pd.DataFrame]:
    """One frame per series, indexed by unique sorted UTC timestamp (the last of duplicates stays)."""
    keys = list(layout.series_key)
    if not keys:
        return {(): _indexed(frame, layout)}
    groups = frame.groupby(keys, sort=True, observed=True)
    return {key: _indexed(group.drop(columns=keys), layout) for key, group in groups}


def components(features: Mapping[str, Mapping[str, Any]], ports: base.Ports) -> dict[str, base.Feature]:
    """The features of a definition, built, in the one order that columns are made in: by name."""
    return {
        name: build.build(base.Feature, {"type": name, **options}, ports=ports, field=f"features.{name}")
        for name, options in sorted(features.items())
    }


def learn(series: Mapping[Key, pd.DataFrame], layout: Layout, features: Mapping[str, Mapping[str, Any]], ports: base.Ports) -> Setup:
    """Settle on the training data what a forecast must not decide anew."""
    names = list(layout.exogenous or ())
    rows = calendar.utc(np.concatenate([calendar.instants(pd.DatetimeIndex(frame.index)) for frame in series.values()]))
    categories = {name: sorted({str(key[i]) for key in series}) for i, name in enumerate(layout.series_key)}
    setup = Setup(
        layout=layout,
        features=features,
        moving=cleaning.learn(list(series.values()), names, layout),
        categories=categories,
        beat=calendar.beat(rows, layout),
        components=components(features, ports),
    )
    whole = pd.concat(list(series.values())) if len(series) > 1 else next(iter(series.values()))
    _require_known(setup)
    settled = {name: {**features[name], **component.settle(whole, layout)} for name, component in setup.components.items()}
    return replace(setup, features=settled, components=components(settled, ports))


def _require_known(setup: Setup) -> None:
    """Again, as the exogenous columns may be known only now."""
    for name, component in setup.components.items():
        try:
            availability.require(component, setup.layout, field=f"features.{name}")
        except errors.Invalid as error:
            raise errors.BadData(" ".join(f"{field}: {' '.join(texts)}" for field, texts in error.fields.items())) from error


def clean(series: Mapping[Key, pd.DataFrame], setup: Setup) -> tuple[dict[Key, pd.DataFrame], int]:
    """Every series without its dead stretches, and how many rows that touched."""
    cleaned = {key: cleaning.clean(frame, setup.moving, setup.layout) for key, frame in series.items()}
    return {key: frame for key, (frame, _) in cleaned.items()}, sum(touched for _, touched in cleaned.values())


def featurise(series: Mapping[Key, pd.DataFrame], setup: Setup, rows_of: RowsOf, issued_of: IssuedOf | None = None) -> Features:
    """Features of the rows that ``rows_of`` names for each (cleaned) series, series after series in order of time.

    ``issued_of``: when a forecast of each row is issued; None: at the start of its horizon step.
    """
    issued_of = issued_of or partial(calendar.issue_times, layout=setup.layout)
    parts = [_one(key, frame, rows_of(key, frame), setup, issued_of) for key, frame in series.items()]
    if len(parts) == 1:
        return parts[0]
    return Features(**{name: _joined([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def measured(window: Window, layout: Layout) -> RowsOf:
    """Names the rows of a window that have a target."""

    def rows_of(_key: Key, frame: pd.DataFrame) -> pd.DatetimeIndex:
        index = pd.DatetimeIndex(frame.index)
        return index[calendar.inside(index, window) & frame[layout.target].notna().to_numpy()]

    return rows_of


def _one(key: Key, series: pd.DataFrame, rows: pd.DatetimeIndex, setup: Setup, issued_of: IssuedOf) -> Features:
    layout, issued = setup.layout, issued_of(rows)
    frames = [component.compute(series, rows, issued, layout) for component in setup.components.values()]
    keys = pd.DataFrame({name: np.full(len(rows), value) for name, value in zip(layout.series_key, key, strict=True)}, index=rows)
    frame = pd.concat([*frames, _codes(key, rows, setup)], axis=1)
    naive = frame[REFERENCE].to_numpy() if REFERENCE in frame else past.reference(series, rows, issued, layout)
    return Features(
        frame=frame,
        keys=keys,
        issued=issued,
        day=calendar.days(rows, layout.timezone),
        target=series[layout.target].reindex(rows).to_numpy(dtype=np.float64),
        reference=naive,
        active=active(rows, setup.components, layout),
        substituted=_blind(series, rows, layout) | (np.isnan(naive) if "lags" in setup.features else False),
    )


def _indexed(group: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    series = group.set_index(layout.timestamp)
    series.index = pd.DatetimeIndex(series.index).as_unit("us").tz_convert("UTC")
    series = series if series.index.is_monotonic_increasing else series.sort_index(kind="stable")
    return series if series.index.is_unique else series[~series.index.duplicated(keep="last")]


def _codes(key: Key, rows: pd.DatetimeIndex, setup: Setup) -> pd.DataFrame:
    """Series keys as categories known in training; a new series is a missing value."""
    columns = {}
    for name, value in zip(setup.layout.series_key, key, strict=True):
        known = list(setup.categories[name])
        code = known.index(str(value)) if str(value) in known else -1
        codes = np.full(len(rows), code, dtype=np.int32)
        columns[f"key.{name}"] = pd.Categorical.from_codes(codes, categories=pd.Index(known))
    return pd.DataFrame(columns, index=rows)


def active(rows: pd.DatetimeIndex, components: Mapping[str, base.Feature], layout: Layout) -> Mask:
    """Which rows no feature knows to be 0."""
    found = np.ones(len(rows), dtype=bool)
    for component in components.values():
        opinion = component.active(rows, layout)
        found &= True if opinion is None else opinion
    return found


def _blind(series: pd.DataFrame, rows: pd.DatetimeIndex, layout: Layout) -> Mask:
    """Rows with no exogenous value within NEAR of them, in a model that has any."""
    names = list(layout.exogenous or ())
    if not names:
        return np.zeros(len(rows), dtype=bool)
    seen = calendar.instants(pd.DatetimeIndex(series.index[series[names].notna().any(axis=1)]))
    if not len(seen):
        return np.ones(len(rows), dtype=bool)
    wanted, near = calendar.instants(rows), calendar.microseconds(NEAR)
    after = np.searchsorted(seen, wanted)
    before, beyond = seen[np.maximum(after - 1, 0)], seen[np.minimum(after, len(seen) - 1)]
    blind: Mask = np.minimum(np.abs(wanted - before), np.abs(beyond - wanted)) > near
    return blind


def _joined(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, pd.DataFrame):
        return pd.concat(values)
    return first.append(list(values[1:])) if isinstance(first, pd.DatetimeIndex) else np.concatenate(values)
