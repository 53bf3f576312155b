"""Values of exogenous columns around each row, by timestamp, never by row: arrays of rows x columns. What they mean is not known here."""

from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys.pipelines import calendar
from mlsys.records import Layout

Floats = npt.NDArray[np.float64]
REACH = 2  # steps to either side
FINEST = timedelta(minutes=15)  # the centred mean looks no closer, so that minute data costs no more than quarter hours


def step(layout: Layout) -> timedelta:
    return max(timedelta(hours=1), layout.frequency)


def _fine(layout: Layout) -> timedelta:
    """Spacing of the points that the centred mean takes: the frequency, or the first multiple of it from FINEST up that fills a step."""
    whole, fine = step(layout), max(layout.frequency, FINEST)
    return fine if whole % fine == timedelta(0) and fine % layout.frequency == timedelta(0) else whole


def stride(layout: Layout) -> int:
    return step(layout) // _fine(layout)


def around(values: Floats, known: pd.DatetimeIndex, rows: pd.DatetimeIndex, layout: Layout) -> dict[int, Floats]:
    """Values (rows x columns) at each offset, in fine spacings, within REACH steps; NaN where the source has no such timestamp."""
    padded = np.concatenate([values, np.full((1, values.shape[1]), np.nan)])  # position -1, "not found", is missing
    reach = REACH * stride(layout)
    return {k: padded[known.get_indexer(rows + k * _fine(layout))] for k in range(-reach, reach + 1)}


def hide(around: dict[int, Floats], column: int, rows: pd.DatetimeIndex, until: pd.DatetimeIndex, layout: Layout) -> None:
    """Take away the values of one column later than ``until``, the last time that is known of for each row."""
    for k, part in around.items():
        part[np.asarray(rows + k * _fine(layout) > until), column] = np.nan


def mean(around: dict[int, Floats]) -> Floats:
    """Mean of what is there, summed in a fixed order: a running sum would give other last digits for another first row."""
    total = np.zeros_like(around[0])
    count = np.zeros_like(around[0])
    for part in around.values():
        there = ~np.isnan(part)
        total[there] += part[there]
        count += there
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def day_mean(values: Floats, known: pd.DatetimeIndex, rows: pd.DatetimeIndex, layout: Layout) -> Floats:
    table = pd.DataFrame(values).groupby(calendar.days(known, layout.timezone)).mean()
    return np.array(table.reindex(calendar.days(rows, layout.timezone)), dtype=np.float64)
