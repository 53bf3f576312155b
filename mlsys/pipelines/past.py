"""What the target did before each row's issue time, at the same time of day. By timestamp, never by row.

The target is laid out as a table of periods (local days, or steps of a longer frequency) by slots (times of day); a row may read only
periods that ended before its issue time. That rule, in one place, is what keeps the future out; gaps and clock changes fall out of it.
"""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys.pipelines import calendar
from mlsys.pipelines.names import REFERENCE
from mlsys.records import Layout

Floats = npt.NDArray[np.float64]
LONG = 28  # periods that the seasonal naive forecast looks back


def reference(series: pd.DataFrame, rows: pd.DatetimeIndex, issued: pd.DatetimeIndex, layout: Layout) -> Floats:
    """The seasonal naive forecast alone, NaN where the last 28 periods hold nothing at that time of day."""
    return Past(series[layout.target], rows, issued, layout).rolling(())[REFERENCE]


class Past:
    """Table of one series' target, and where each row stands in it. ``depth``: periods before the issue time that may be asked for."""

    def __init__(self, target: pd.Series, rows: pd.DatetimeIndex, issued: pd.DatetimeIndex, layout: Layout, *, depth: int = LONG) -> None:
        known = target.dropna()
        period, slot = calendar.cells(pd.DatetimeIndex(known.index), layout)
        self._row_period, self._row_slot = calendar.cells(rows, layout)
        self._issue_period = calendar.cells(issued, layout)[0]
        self._first = int(self._issue_period.min(initial=0 if not len(rows) else self._issue_period.max())) - depth
        self._depth = depth
        self._table = self._fill(period, slot, known.to_numpy(dtype=np.float64))

    def _fill(self, period: calendar.Ints, slot: calendar.Ints, values: Floats) -> Floats:
        """Periods from the first a row may need to the last issue period; the mean where a clock going back gives a slot two values."""
        height = int(self._issue_period.max(initial=self._first)) - self._first + 1
        width = int(max(self._row_slot.max(initial=0), slot.max(initial=0))) + 1
        inside = (period >= self._first) & (period < self._first + height)
        flat = (period[inside] - self._first) * width + slot[inside]
        count = np.bincount(flat, minlength=height * width)
        total = np.bincount(flat, weights=values[inside], minlength=height * width)
        mean: Floats = np.divide(total, count, out=np.full(height * width, np.nan), where=count > 0)
        return mean.reshape(height, width)

    def lag(self, periods: int) -> Floats:
        """The value ``periods`` before each row at its slot, NaN unless that whole period ended before the row's issue time."""
        wanted = self._row_period - periods
        line = wanted - self._first
        known = (wanted < self._issue_period) & (line >= 0) & (line < len(self._table))
        return np.where(known, self._table[np.where(known, line, 0), self._row_slot], np.nan)

    def rolling(self, windows: Sequence[int]) -> dict[str, Floats]:
        """Mean and maximum over so many periods before the issue time at each row's slot, and the last value of LONG periods there.

        Added up slice by slice, in one order whatever the first row: a running sum would differ in its last digits between two windows.
        """
        height, width = self._table.shape
        padded = np.concatenate([np.full((self._depth, width), np.nan), self._table])
        total, count = np.zeros((height, width)), np.zeros((height, width))
        top, last = np.full((height, width), np.nan), np.full((height, width), np.nan)
        found: dict[str, Floats] = {}
        for back in range(1, max(LONG, *windows, 0) + 1):
            past = padded[self._depth - back : self._depth - back + height]
            there = ~np.isnan(past)
            total += np.where(there, past, 0.0)
            count += there
            top = np.fmax(top, past)
            last = np.where(np.isnan(last), past, last) if back <= LONG else last
            if back in windows:
                found[f"target_mean_{back}"] = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
                found[f"target_max_{back}"] = top
        found[REFERENCE] = last
        line = self._issue_period - self._first
        return {name: table[line, self._row_slot] for name, table in found.items()}


def shifted(target: pd.Series, rows: pd.DatetimeIndex, issued: pd.DatetimeIndex, back: timedelta) -> Floats:
    """The value exactly ``back`` before each row, NaN unless that is before its issue time."""
    wanted = rows - back
    return np.where(wanted < issued, target.reindex(wanted).to_numpy(dtype=np.float64), np.nan)


def latest(target: pd.Series, issued: pd.DatetimeIndex) -> Floats:
    """The last value before each issue time, NaN when it is older than a day."""
    known = target.dropna()
    times = calendar.instants(pd.DatetimeIndex(known.index))
    wanted = calendar.instants(issued)
    position = np.searchsorted(times, wanted, side="left") - 1
    if not len(times):
        return np.full(len(issued), np.nan)
    fresh = (position >= 0) & (wanted - times[position] <= calendar.DAY_US)
    return np.where(fresh, known.to_numpy(dtype=np.float64)[position], np.nan)
