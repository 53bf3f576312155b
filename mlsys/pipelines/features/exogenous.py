"""Feature ``exogenous``: what is known in advance (weather forecasts, holidays), now and around each row. By timestamp, never by row."""

from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys.pipelines import base, calendar
from mlsys.records import Layout

Floats = npt.NDArray[np.float64]
REACH = 2  # steps to either side
FINEST = timedelta(minutes=15)  # the centred mean looks no closer, so that minute data costs no more than quarter hours


class Exogenous(base.Feature):
    """No options. Per column: the value now, one and two steps (an hour, or the frequency if longer) before and after, the mean over
    these two steps to either side, and the mean of the local day."""

    def lookback(self, layout: Layout) -> timedelta:
        return max(timedelta(days=1), REACH * _step(layout)) + timedelta(hours=1)

    def lookahead(self, layout: Layout) -> timedelta:
        return self.lookback(layout)

    def source(self, column: str, layout: Layout) -> str | None:
        fitting = [name for name in layout.exogenous or () if column.removeprefix("x.").startswith(name)]
        return max(fitting, key=len, default=None)  # one column's name may begin with another's

    def compute(self, series: pd.DataFrame, rows: pd.DatetimeIndex, issued: pd.DatetimeIndex, layout: Layout) -> pd.DataFrame:
        names = [name for name in layout.exogenous or () if name in series]
        values = series[names].to_numpy(dtype=np.float64)
        known = pd.DatetimeIndex(series.index)
        around = _around(values, known, rows, layout)
        parts = {"": around[0], **{f"_{i:+d}": around[i * _stride(layout)] for i in (-2, -1, 1, 2)}, "_centred": _mean(around)}
        if layout.frequency < timedelta(days=1):
            parts["_day"] = _day_mean(values, known, rows, layout)
        columns = [f"x.{name}{part}" for part in parts for name in names]  # prefixed: a user's column may have any name
        return pd.DataFrame(np.concatenate(list(parts.values()), axis=1), index=rows, columns=columns)


def _step(layout: Layout) -> timedelta:
    return max(timedelta(hours=1), layout.frequency)


def _fine(layout: Layout) -> timedelta:
    """Spacing of the points that the centred mean takes: the frequency, or the first multiple of it from FINEST up that fills a step."""
    step = _step(layout)
    fine = max(layout.frequency, FINEST)
    return fine if step % fine == timedelta(0) and fine % layout.frequency == timedelta(0) else step


def _stride(layout: Layout) -> int:
    return _step(layout) // _fine(layout)


def _around(values: Floats, known: pd.DatetimeIndex, rows: pd.DatetimeIndex, layout: Layout) -> dict[int, Floats]:
    """Values (rows x columns) at each offset, in fine spacings, within REACH steps; NaN where the source has no such timestamp."""
    padded = np.concatenate([values, np.full((1, values.shape[1]), np.nan)])  # position -1, "not found", is missing
    reach = REACH * _stride(layout)
    return {k: padded[known.get_indexer(rows + k * _fine(layout))] for k in range(-reach, reach + 1)}


def _mean(around: dict[int, Floats]) -> Floats:
    """Mean of what is there, summed in a fixed order: a running sum would give other last digits for another first row."""
    total = np.zeros_like(around[0])
    count = np.zeros_like(around[0])
    for part in around.values():
        there = ~np.isnan(part)
        total[there] += part[there]
        count += there
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _day_mean(values: Floats, known: pd.DatetimeIndex, rows: pd.DatetimeIndex, layout: Layout) -> Floats:
    table = pd.DataFrame(values).groupby(calendar.days(known, layout.timezone)).mean()
    return table.reindex(calendar.days(rows, layout.timezone)).to_numpy(dtype=np.float64)
