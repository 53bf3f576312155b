"""Feature ``lags``: what the target did before each row's issue time, at the same time of day. By timestamp, never by row (past.py).

pandas is imported late: a definition with options is checked against this class by processes that never compute a feature.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from mlsys import errors
from mlsys.pipelines import base, durations
from mlsys.records import Layout

if TYPE_CHECKING:
    import pandas as pd

SHORT, LONG = 7, 28  # periods
LONGEST = 800  # periods: two years and some


class Lags(base.Feature):
    """Target lags, last value, rolling mean and maximum at the same time of day.

    ``at``: lags as ISO 8601 durations, such as [P1D, P7D]; left out: the first two days from the horizon up, and a week. Whole days go by
    the local clock, others by the time that has passed. ``windows``: lengths of the rolling statistics, days (or longer steps).
    """

    def __init__(self, *, at: Sequence[str] | None = None, windows: Sequence[int] = (SHORT, LONG)) -> None:
        self._at = None if at is None else {text: _duration(text, i) for i, text in enumerate(at)}
        if not all(0 < window <= LONGEST for window in windows) or len(set(windows)) != len(windows):
            raise errors.Invalid({"windows": f"These must be different whole numbers from 1 to {LONGEST}."})
        self._windows = tuple(sorted(windows))

    def known(self, layout: Layout) -> Mapping[str, timedelta]:
        return {f"at.{text}": length for text, length in (self._at or {}).items()}

    def lookback(self, layout: Layout) -> timedelta:
        cycle = _cycle(layout)
        longest = max([timedelta(0), *(self._at or {}).values()])
        return max((max([LONG, *self._windows]) + 2) * cycle + max(layout.horizon, cycle), longest + 2 * cycle)

    def source(self, column: str, layout: Layout) -> str | None:
        return layout.target

    def compute(self, series: "pd.DataFrame", rows: "pd.DatetimeIndex", issued: "pd.DatetimeIndex", layout: Layout) -> "pd.DataFrame":
        import pandas as pd

        from mlsys.pipelines import past

        target, cycle = series[layout.target], _cycle(layout)
        given = [count * cycle for count in lag_periods(layout)] if self._at is None else list(self._at.values())
        periods = sorted({length // cycle for length in given if length % cycle == timedelta(0)})
        history = past.Past(target, rows, issued, layout, depth=max([LONG, *self._windows, *periods]))
        columns = {f"target_lag_{count}": history.lag(count) for count in periods}
        for length in sorted(length for length in given if length % cycle):
            columns[f"target_lag_{durations.format_duration(length)}"] = past.shifted(target, rows, issued, length)
        if layout.horizon < timedelta(days=1):
            columns["target_lag_horizon"] = past.shifted(target, rows, issued, layout.horizon)
            columns["target_latest"] = past.latest(target, issued)
        return pd.DataFrame(columns | history.rolling(self._windows), index=rows)


def lag_periods(layout: Layout) -> tuple[int, ...]:
    """1, 2 and 7 days for a horizon of a day; for a longer one the first such that are always known."""
    nearest = max(1, -(-layout.horizon // _cycle(layout)))
    week = -(-nearest // 7) * 7
    return tuple(sorted({nearest, nearest + 1, week}))


def _cycle(layout: Layout) -> timedelta:
    return max(layout.frequency, timedelta(days=1))


def _duration(text: str, number: int) -> timedelta:
    try:
        length = durations.parse_duration(text)
    except (ValueError, TypeError, AttributeError):
        length = timedelta(0)
    if not timedelta(0) < length <= timedelta(days=LONGEST):
        raise errors.Invalid({"at": f"Item {number + 1}, {text!r}, is no ISO 8601 duration such as P1D or PT36H, up to P{LONGEST}D."})
    return length
