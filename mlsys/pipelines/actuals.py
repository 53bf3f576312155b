"""What became of the target: its values by series, read as a job reads them, and the naive forecast they make. Keeps nothing."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys.pipelines import base, build, definition, featurise, past, windows
from mlsys.pipelines.features import lags
from mlsys.records import Json, Layout, Window

Series = Mapping[featurise.Key, pd.DataFrame]


def layout_of(definition_: Json) -> Layout:
    """Only the target is read: what is known in advance is no business of an actual."""
    return replace(definition.layout(definition_), exogenous=())


def read(definition_: Json, window: Window, *, known_at: datetime | None, ports: base.Ports) -> Series:
    """The target in ``window``, and as far before it as the naive forecast looks, by series and unique sorted UTC timestamp.

    Raises Invalid for a source that is not there, BadData's kin for one that cannot be read.
    """
    layout = layout_of(definition_)
    source = build.build(base.DataSource, definition_["source"], ports=ports, field="source")
    before = lags.Lags().lookback(layout)
    rows = windows.read(source, layout, window, known_at=known_at, before=before, after=timedelta(0), target=False)
    return featurise.split(rows.whole, layout) if len(rows.whole) else {}


def active(definition_: Json, rows: pd.DatetimeIndex, ports: base.Ports) -> npt.NDArray[np.bool_]:
    """False for rows that the model's features know to be 0 (a solar plant at night)."""
    components = featurise.components(definition.features(definition_), ports)
    return featurise.active(rows, components, definition.layout(definition_))


def at(series: Series, key: featurise.Key, rows: pd.DatetimeIndex, layout: Layout) -> npt.NDArray[np.float64]:
    """The target of those timestamps; NaN where there is none."""
    if key not in series:
        return np.full(len(rows), np.nan)
    return series[key][layout.target].reindex(rows).to_numpy(dtype=np.float64)


def naive(series: Series, key: featurise.Key, rows: pd.DatetimeIndex, issued: pd.DatetimeIndex, layout: Layout) -> npt.NDArray[np.float64]:
    """The seasonal naive forecast of those timestamps from what had been measured when each was issued."""
    if key not in series or not len(rows):
        return np.full(len(rows), np.nan)
    return past.reference(series[key], rows, issued, layout)
