"""Why a model forecasts what it does: importances on the days it was judged by, and what adds up to one forecast. Stores nothing.

Columns of features are summed over their source (a column of the data, the hour, the sun), since the columns of one source tell much the
same: scrambling one of them alone would show none as important.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys import errors
from mlsys.clock import rfc3339
from mlsys.pipelines import base, build, calendar, checking, definition, featurise, names, windows
from mlsys.pipelines.featurise import Features, Setup
from mlsys.pipelines.forecaster import Forecaster
from mlsys.records import Json, Window

MOST_ROWS = 2000  # of a hold-out, spread evenly
SEED = 0
GONE = "The source holds no measured rows of the version's hold-out any more."


@dataclass(frozen=True, kw_only=True)
class ExplainSpec:
    """A version's data as its training read it: the definition of then, and ``known_at``, the cut that was in force."""

    definition: Json
    known_at: datetime | None


def gains(forecaster: Forecaster) -> Mapping[str, float] | None:
    """Gain by column of the features, in their order; None where the model has none."""
    found = forecaster.fitted.gain()
    return None if found is None else {str(name): float(value) for name, value in found.items()}


def permuted(twin: Forecaster, window: Window, spec: ExplainSpec, ports: base.Ports) -> dict[str, Any]:
    """By how much the mean absolute error on the hold-out ``window`` grows when the rows of one source are shuffled among themselves.

    Breiman 2001, over groups of columns. Raises BadData's kin and Invalid when the data cannot be read any more.
    """
    raw = _read(twin.setup, window, spec, ports, after=timedelta(0))
    if not raw:
        raise errors.EmptyWindow(GONE)
    series, _ = featurise.clean(raw, twin.setup)
    features = _scored(featurise.featurise(series, twin.setup, featurise.measured(window, twin.setup.layout)))
    order = np.random.default_rng(SEED).permutation(len(features))
    usual = _mae(twin, features)
    groups = _by_source(list(features.frame.columns), source_of(twin.setup))
    grown = {name: _mae(twin, _shuffled(features, columns, order)) - usual for name, columns in groups.items()}
    return {"start": rfc3339(window.start), "end": rfc3339(window.end), "rows": len(features), "mae": usual, "increase": grown}


def told(forecaster: Forecaster, measured: Mapping[str, Any] | None) -> dict[str, Any]:
    """Importances by source and by column, the most important first; ``measured`` as permuted() answers."""
    gain, sources = gains(forecaster), source_of(forecaster.setup)
    whole = sum(gain.values()) if gain else 0.0
    by_source: list[dict[str, Any]] = []
    features: list[dict[str, Any]] = []
    for source, columns in _by_source(list(forecaster.columns), sources).items():
        own = sum(gain[name] for name in columns) if gain else None
        share = own / whole if own is not None and whole > 0 else None
        by_source.append(
            {"source": source, "gain": own, "gain_share": share, "permutation": (measured or {}).get("increase", {}).get(source)}
        )
        features += [{"feature": name, "source": source, "gain": gain[name] if gain else None} for name in columns]
    by = "permutation" if measured else "gain"
    by_source.sort(key=lambda one: -(one[by] or 0.0))
    features.sort(key=lambda one: -(one["gain"] or 0.0))
    about = {name: measured[name] for name in ("start", "end", "rows", "mae")} if measured else None
    return {"importances": by_source, "features": features, "permutation": about}


def contributions(forecaster: Forecaster, at: datetime, key: featurise.Key, spec: ExplainSpec, ports: base.Ports) -> dict[str, Any]:
    """What adds up to the forecast of one timestamp. Raises Invalid({"timestamp"|"series": ...}) for a row that would not be forecast."""
    setup = forecaster.setup
    window = Window(start=at, end=at + setup.layout.frequency)
    raw = _read(setup, window, spec, ports, after=setup.lookahead())
    found = next((one for one in raw if [str(part) for part in one] == [str(part) for part in key]), None)
    if found is None:
        known = ", ".join(sorted("/".join(map(str, one)) for one in raw)[:20]) or "none"
        field = "series" if setup.layout.series_key else "timestamp"
        raise errors.Invalid({field: f"The source holds no rows of it around {rfc3339(at)}; series that it holds: {known}."})
    rows = calendar.grid(window, setup.layout, setup.beat)
    if not len(rows) or rows[0] != pd.Timestamp(at):
        raise errors.Invalid({"timestamp": "The model forecasts no such timestamp: it is none of its frequency."})
    series, _ = featurise.clean({found: raw[found]}, setup)
    features = featurise.featurise(series, setup, lambda _key, _frame: rows)
    forecast = float(forecaster.predict(features)[names.PREDICTION].iloc[0])
    about = {
        "timestamp": rfc3339(at),
        "issued_at": rfc3339(features.issued[0].to_pydatetime()),
        "substituted": bool(features.substituted[0]),
        "prediction": forecast,
    }
    if not features.active[0]:
        note = "The target is known to be 0 then (at night, say): no model was asked."
        return about | {"raw_prediction": forecast, "base": forecast, "contributions": [], "note": note}
    return about | _added_up(forecaster, features)


def _added_up(forecaster: Forecaster, features: Features) -> dict[str, Any]:
    found = forecaster.contributions(features)
    if found is None:
        kind = forecaster.model["type"]
        raise errors.Invalid({"timestamp": f"A model of type {kind!r} does not tell what its forecasts are made of; leave this out."})
    parts = found.iloc[0]
    return {
        "raw_prediction": float(parts.sum()),
        "base": float(parts[base.BASE]),
        "contributions": _parts(features, parts, source_of(forecaster.setup)),
        "note": "",
    }


def source_of(setup: Setup) -> dict[str, str]:
    """Column of the features -> its source, learnt by computing two rows of no data."""
    layout = setup.layout
    rows = pd.date_range("2000-01-03", periods=2, freq=layout.frequency, tz="UTC").as_unit("us")
    frame = pd.DataFrame(np.nan, index=rows, columns=[layout.target, *(layout.exogenous or ())])
    issued = calendar.issue_times(rows, layout)
    found = {f"key.{name}": name for name in layout.series_key}
    for name, component in setup.components.items():
        for column in component.compute(frame, rows, issued, layout).columns:
            found[str(column)] = component.source(str(column), layout) or name
    return found


def _parts(features: Features, parts: "pd.Series[float]", sources: Mapping[str, str]) -> list[dict[str, Any]]:
    """By source, the largest first; within it by column."""
    found = []
    for source, columns in _by_source(list(features.frame.columns), sources).items():
        each = [{"feature": name, "value": _value(features.frame[name].iloc[0]), "contribution": float(parts[name])} for name in columns]
        each.sort(key=lambda part: -abs(part["contribution"]))
        found.append({"source": source, "contribution": float(sum(parts[name] for name in columns)), "features": each})
    return sorted(found, key=lambda part: -abs(part["contribution"]))


def _value(value: Any) -> Any:
    """As JSON takes it: a category by its name, nothing for what is missing."""
    if isinstance(value, str):
        return value
    return float(value) if pd.notna(value) else None


def _read(setup: Setup, window: Window, spec: ExplainSpec, ports: base.Ports, *, after: timedelta) -> Mapping[featurise.Key, pd.DataFrame]:
    source = build.build(base.DataSource, spec.definition["source"], ports=ports, field="source")
    about: dict[str, Any] = {name: spec.definition.get(name) for name in ("created_at", "issue")}
    before = setup.lookback() + setup.layout.horizon
    layout = replace(setup.layout, **about)
    rows = windows.read(source, layout, window, known_at=spec.known_at, before=before, after=after, target=False)
    if not len(rows.whole):
        return {}
    raw, checks = featurise.split(rows.whole, setup.layout), definition.checks(spec.definition)
    return checking.mended(raw, setup.layout, checks, setup.components, ports)


def _scored(features: Features) -> Features:
    """MOST_ROWS of those that a model was asked for."""
    chosen = np.flatnonzero(features.active)
    if not len(chosen):
        raise errors.EmptyWindow(GONE)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(MOST_ROWS, len(chosen))).astype(np.int64)]
    mask = np.zeros(len(features), dtype=bool)
    mask[chosen] = True
    return features.take(mask)


def _by_source(columns: Sequence[str], sources: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for column in columns:
        found.setdefault(sources.get(column, column), []).append(column)
    return found


def _shuffled(features: Features, columns: list[str], order: npt.NDArray[np.int64]) -> Features:
    frame = features.frame.copy()
    for name in columns:
        frame[name] = frame[name].array[order]
    return replace(features, frame=frame)


def _mae(forecaster: Forecaster, features: Features) -> float:
    return float(np.mean(np.abs(forecaster.predict(features)[names.PREDICTION].to_numpy() - features.target)))
