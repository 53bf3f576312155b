"""Time in a model's own zone: local days, issue times, the grid of timestamps a window should hold. Vectorised; nothing here reads data.

All instants are UTC DatetimeIndexes in microseconds. A day is a local calendar day, so it has 23 or 25 hours where the clocks change.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys.records import Layout, Window

Ints = npt.NDArray[np.int64]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000
MONDAY_US = 4 * DAY_US  # 1970-01-05: steps of several days are counted from a Monday, so that P7D is a calendar week


class Beat(NamedTuple):
    """When timestamps fall: ``offset`` microseconds into each step of the frequency, counted from a Monday of the local clock or UTC."""

    offset: int
    local: bool


def microseconds(length: timedelta) -> int:
    return length // timedelta(microseconds=1)


def utc(instants: Ints) -> pd.DatetimeIndex:
    """Microseconds since the epoch -> UTC index."""
    return pd.DatetimeIndex(instants.astype("datetime64[us]"), tz="UTC")


def instants(rows: pd.DatetimeIndex) -> Ints:
    """Microseconds since the epoch of each row."""
    return np.asarray(rows.as_unit("us").asi8, dtype=np.int64)


def instant(when: datetime) -> int:
    """Microseconds since the epoch of one aware instant."""
    return (when - EPOCH) // timedelta(microseconds=1)


def wall(rows: pd.DatetimeIndex, timezone: str) -> Ints:
    """Local wall time of each row, as microseconds since 1970-01-01 00:00 on that wall."""
    if timezone == "UTC":
        return instants(rows)
    return np.asarray(rows.as_unit("us").tz_convert(timezone).tz_localize(None).asi8, dtype=np.int64)


def from_wall(walls: Ints, timezone: str) -> pd.DatetimeIndex:
    """The instants of wall times: the first of two where the clock goes back, the next that exists where it goes forward."""
    if timezone == "UTC":
        return utc(walls)
    naive = pd.DatetimeIndex(walls.astype("datetime64[us]"))
    first = np.ones(len(naive), dtype=bool)
    return naive.tz_localize(timezone, ambiguous=first, nonexistent="shift_forward").tz_convert("UTC")


def days(rows: pd.DatetimeIndex, timezone: str) -> Ints:
    """Number of each row's local day (days since 1970-01-01)."""
    return wall(rows, timezone) // DAY_US


def midnights(day_numbers: Ints, timezone: str) -> pd.DatetimeIndex:
    """The instant at which each local day begins."""
    unique, inverse = np.unique(day_numbers, return_inverse=True)
    return from_wall(unique * DAY_US, timezone)[inverse]


def day_names(day_numbers: Ints) -> list[str]:
    """ISO dates of day numbers."""
    return [str(day) for day in day_numbers.astype("datetime64[D]")]


def issue_times(rows: pd.DatetimeIndex, layout: Layout) -> pd.DatetimeIndex:
    """The start of each row's horizon step: the instant whose knowledge a forecast of that row may use; never after the row.

    ``P1D``: local midnight of its day. Shorter: steps of that length counted from local midnight. Longer: steps of whole local days.
    """
    step, number = microseconds(layout.horizon), days(rows, layout.timezone)
    if step > DAY_US:
        length, monday = step // DAY_US, MONDAY_US // DAY_US
        number = (number - monday) // length * length + monday
    start = instants(midnights(number, layout.timezone))
    if step < DAY_US:
        start = start + (instants(rows) - start) // step * step
    return utc(start)


def beat(rows: pd.DatetimeIndex, layout: Layout) -> Beat:
    """The beat that most timestamps keep: by the local clock where they keep that better over its changes (daily data), else by UTC."""
    found = [_beat(rows, layout, local=local) for local in (False, True)]
    usual = layout.frequency >= timedelta(days=1)
    return max(found, key=lambda one: (one[0], one[1].offset == 0, one[1].local == usual))[1]


def _beat(rows: pd.DatetimeIndex, layout: Layout, *, local: bool) -> tuple[int, Beat]:
    clock = wall(rows, layout.timezone) if local else instants(rows)
    offsets, counts = np.unique((clock - MONDAY_US) % microseconds(layout.frequency), return_counts=True)
    best = int(np.argmax(counts)) if len(counts) else None
    return (0, Beat(0, local)) if best is None else (int(counts[best]), Beat(int(offsets[best]), local))


def grid(window: Window, layout: Layout, keeping: Beat) -> pd.DatetimeIndex:
    """Every timestamp that ``window`` should hold at the layout's frequency, in the data's own beat."""
    step = microseconds(layout.frequency)
    low, high = ((instant(end) - MONDAY_US) // step for end in (window.start, window.end))
    around = DAY_US // step + 2  # a local clock is at most a day away from UTC
    clock = np.arange(low - around, high + around, dtype=np.int64) * step + keeping.offset + MONDAY_US
    found = from_wall(clock, layout.timezone).unique() if keeping.local else utc(clock)
    return found[inside(found, window)]


def inside(rows: pd.DatetimeIndex, window: Window) -> npt.NDArray[np.bool_]:
    """Which rows lie in the half-open window."""
    at = instants(rows)
    return (at >= instant(window.start)) & (at < instant(window.end))


def cells(rows: pd.DatetimeIndex, layout: Layout) -> tuple[Ints, Ints]:
    """Each row's place in a table of periods (a local day, or one step of a longer frequency) by slots (the steps of a day)."""
    step = microseconds(layout.frequency)
    cycle = max(step, DAY_US)
    clock = wall(rows, layout.timezone) - MONDAY_US
    return clock // cycle, (clock % cycle) // step
