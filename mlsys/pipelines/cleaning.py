"""Dead exogenous feeds: stretches frozen, or written as zeros, for over 12 hours become missing. Rows are kept, targets never touched.

Columns that stand still by nature (a holiday flag, a daily value repeated each hour) are told apart once, on the training data, and the
moving ones and their ranges stored with the model, so that a forecast cleans as its training did.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys.pipelines import calendar
from mlsys.records import Layout, Verdict

LONGEST = timedelta(hours=12)
WEATHER = timedelta(days=1)  # so long may all columns rest at the ends of their ranges (a clear sky), if they came and went gently:
GENTLE = 0.1  # in steps of at most this share of the range. What falls to zero at once is a feed that has ended
AT_END = 0.001  # so near to an end, as a share of the range, is at it: a sky of 1.0 where one row of the year says 1.000006
FEWEST_STEPS = 8  # for daily data 12 hours would be no stretch at all
MOVING = 0.2  # a moving column changes in at least this share of its steps
NIGHT, NIGHTLY = timedelta(hours=6), 0.8  # a column that stands still so long on this share of days does so by nature (irradiance at night)
Mask = npt.NDArray[np.bool_]
Moving = Mapping[str, tuple[float, float]]


def learn(series: Sequence[pd.DataFrame], columns: Sequence[str], layout: Layout) -> Moving:
    """The columns whose standing still means a dead feed, with lowest and highest value. Each frame: one series by sorted UTC timestamp."""
    weights = np.array([len(frame) for frame in series], dtype=np.float64)
    found = {}
    for name in columns:
        values = [frame[name].to_numpy(dtype=np.float64) for frame in series]
        if not weights.sum() or np.average([_changes(column) for column in values], weights=weights) < MOVING:
            continue
        if _two_valued(values):  # a flag rests by nature
            continue
        rests = [_nights(column, frame.index, layout) for column, frame in zip(values, series, strict=True)]
        if np.average(rests, weights=weights) < NIGHTLY:
            found[name] = (min(float(f[name].min()) for f in series), max(float(f[name].max()) for f in series))
    return found


def dead_stretches(frame: pd.DataFrame, moving: Moving, layout: Layout) -> dict[str, Mask]:
    """Per moving column the rows to be taken as missing: where all (two or more) stand still at once, or one does inside its range.

    A single column resting at its lowest or highest value is weather (no cloud, full cloud), not a fault; so are all of them for up to a
    day, if they came there and left as weather does.
    """
    present = {name: bounds for name, bounds in moving.items() if name in frame}
    if not present or frame.empty:
        return {}
    values = {name: frame[name].to_numpy(dtype=np.float64) for name in present}
    resting = {name: still(column) for name, column in values.items()}
    together = np.zeros(len(frame), dtype=bool)
    if len(resting) > 1:
        every = np.logical_and.reduce(list(resting.values()))
        together = long(every, frame.index, layout) & ~_weather(values, every, frame.index, present, layout)
    return {name: together | (_inside(values[name], bounds) & long(resting[name], frame.index, layout)) for name, bounds in present.items()}


def clean(frame: pd.DataFrame, moving: Moving, layout: Layout) -> tuple[pd.DataFrame, int]:
    """A copy of one series with its dead stretches missing (the same frame when there are none), and how many rows that touched."""
    dead = {name: mask for name, mask in dead_stretches(frame, moving, layout).items() if mask.any()}
    if not dead:
        return frame, 0
    touched = int(np.logical_or.reduce(list(dead.values())).sum())
    return frame.assign(**{name: frame[name].mask(mask) for name, mask in dead.items()}), touched


def verdict(touched: int, rows: int, moving: Moving) -> Verdict:
    """What cleaning did: ``touched`` of ``rows`` lost at least one exogenous value."""
    share = touched / rows if rows else 0.0
    detail = f"{touched} of {rows} rows had frozen {', '.join(sorted(moving))}: taken as missing" if touched else "no dead stretch found"
    return Verdict(name="cleaning", passed=touched == 0, value=round(share, 6), threshold=0.0, detail=detail, blocking=False)


def moves(values: npt.NDArray[np.float64]) -> bool:
    """Whether a column changes often enough that standing still says something."""
    return _changes(values) >= MOVING and not _two_valued([values])


def still(values: npt.NDArray[np.float64]) -> Mask:
    """Whether each row holds the same number as the row before it (missing counts as still)."""
    same = (values[1:] == values[:-1]) | np.isnan(values[1:])
    return np.concatenate([[False], same])[: len(values)]


def long(
    resting: Mask, index: pd.Index, layout: Layout, *, over: timedelta = LONGEST, steps: int = FEWEST_STEPS, coverage: float = 0.0
) -> Mask:
    """Rows in runs of more than ``over``, of at least ``steps`` rows and ``coverage`` of those that a run so long should have. A run begins
    with the row that the next ones repeat."""
    if not len(resting):
        return resting
    times, step = calendar.instants(pd.DatetimeIndex(index)), calendar.microseconds(layout.frequency)
    run = np.cumsum(~resting) - 1
    first = np.flatnonzero(~resting)
    last = np.concatenate([first[1:] - 1, [len(resting) - 1]])
    span, count = times[last] - times[first] + step, last - first + 1
    found = (span > calendar.microseconds(over)) & (count >= steps) & (count * step >= coverage * span)
    return np.asarray(found[run])


def _weather(values: Mapping[str, npt.NDArray[np.float64]], resting: Mask, index: pd.Index, bounds: Moving, layout: Layout) -> Mask:
    """Rows in runs of at most WEATHER that rest at the ends of all ranges, and whose neighbours are not far from there (an end of the frame
    has no neighbour, and one of the two must be seen)."""
    run, first = np.cumsum(~resting) - 1, np.flatnonzero(~resting)
    steps = [np.append(np.nan, np.abs(np.diff(values[name])) / (high - low)) for name, (low, high) in bounds.items()]
    enter = np.max(steps, axis=0)[first]
    gentle = np.fmax(enter, np.append(enter[1:], np.nan)) <= GENTLE
    off = np.logical_or.reduce([_inside(values[name], ends) | np.isnan(values[name]) for name, ends in bounds.items()])[first]
    lasting = long(resting, index, layout, over=WEATHER)[first]
    return np.asarray((gentle & ~off & ~lasting)[run])


def _inside(values: npt.NDArray[np.float64], bounds: tuple[float, float]) -> Mask:
    near = AT_END * (bounds[1] - bounds[0])
    found: Mask = (values > bounds[0] + near) & (values < bounds[1] - near)
    return found


def _two_valued(values: Sequence[npt.NDArray[np.float64]]) -> bool:
    known = np.concatenate([column[~np.isnan(column)] for column in values])
    return not len(known) or bool(np.isin(known, (known.min(), known.max())).all())


def _changes(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(np.mean(known[1:] != known[:-1])) if len(known) > 1 else 0.0


def _nights(values: npt.NDArray[np.float64], index: pd.Index, layout: Layout) -> float:
    """The share of local days on which the column stands still for NIGHT."""
    days = calendar.days(pd.DatetimeIndex(index), layout.timezone)
    resting = long(still(values), index, layout, over=NIGHT, steps=2)
    return len(np.unique(days[resting])) / max(1, len(np.unique(days)))
