"""Check ``level``: is the target of the hold-out as high as it was last month and last year, weather and weekdays allowed for?

A gate on error cannot see labels that are all 15 % too high: candidate and champion are then wrong alike. Levels are held against what a
small ridge regression of the daily means expects, and the bound follows how far levels of such windows have wandered before: where the
weather leaves 15 % unexplained (a solar plant in a changeable month) this check stays silent rather than cry wolf; see ``revised``.

How far they wander is itself only guessed, from a few windows that overlap: so the bound is Student's, by as many as are independent.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from mlsys.pipelines import base, calendar
from mlsys.pipelines.profile import Profile
from mlsys.records import Json, Verdict

Floats = npt.NDArray[np.float64]
YEAR = 364  # days: the same weekdays
SEASONS = 400  # days of history from which on a yearly cycle can be told from a trend
RIDGE = 0.02  # per day of history, of standardised columns
FEWEST = 4  # earlier changes that a spread is taken from
EVERY = 7  # days between the windows that the spread is taken from
FLOOR = 0.2  # a window's level is held against at least this share of the usual one: near-zero months have no ratio


class Level(base.DataCheck):
    """``tolerance``: change of the level that is always allowed (0.1: 10 %); ``spreads``: so many standard deviations of earlier
    changes are allowed as well, and where few are known as many more as are exceeded no more often (Student 1908). Judged where the
    history before the hold-out is at least three times as long."""

    stage: ClassVar[Literal["series"]] = "series"
    purposes: ClassVar[tuple[str, ...]] = ("train",)
    parameters: ClassVar = {
        "tolerance": base.Parameter(type=float, low=0, high=100),
        "spreads": base.Parameter(type=float, low=0, high=100),
    }

    def __init__(self, *, tolerance: float = 0.1, spreads: float = 3.0) -> None:
        self._tolerance, self._spreads = tolerance, spreads

    def check(self, frame: object, context: base.CheckContext) -> tuple[Verdict, ...]:
        days = _Days(context)
        return tuple(self._verdict(name, back, days) for name, back in (("level_month", days.length), ("level_year", YEAR)))

    def _verdict(self, name: str, back: int, days: "_Days") -> Verdict:
        ago = "before" if name == "level_month" else "a year ago"
        now, then, spread = days.level(0), days.level(back), days.spread(back)
        if now is None or then is None or spread is None:
            return Verdict(name=name, passed=True, detail=f"too few days to compare with those {ago}", ground=True, data=days.data)
        change = now - then
        bound = max(self._tolerance, _student(self._spreads, spread.count) * spread.size)
        detail = (
            f"the level of the last {days.length} days, weather and weekdays allowed for, beside that of the {days.length} {ago}; "
            f"such windows have differed by {spread.size:.1%}, as far as {spread.count:.1f} of them tell"
        )
        passed = bool(abs(change) <= bound)
        return Verdict(
            name=name, passed=passed, value=round(change, 4), threshold=round(float(bound), 4), detail=detail, ground=True, data=days.data
        )


@dataclass(frozen=True, kw_only=True)
class _Spread:
    """Root mean square ``size`` of changes, and how many of them do not overlap: at least 1."""

    size: float
    count: float


def _student(spreads: float, count: float) -> float:
    """So many standard deviations of a normal number as a quantile of Student's t, with a degree of freedom for each change (the mean is
    known to be 0)."""
    from scipy import special  # slow to import

    return float(-special.stdtrit(count, NormalDist().cdf(-spreads)))


class _Days:
    """Daily means of the target and what they are expected to be; day 0 is the first of the hold-out."""

    def __init__(self, context: base.CheckContext) -> None:
        self.length = 0
        self._earlier: dict[int, float] = {}
        self.data: Json | None = None
        found, held = context.profile, context.holdout
        if found is None or held is None or not len(found.days):
            return
        whole = found.rows >= 0.5 * np.median(found.rows)
        start = int(
            np.searchsorted(calendar.instants(calendar.midnights(found.days, context.layout.timezone)), calendar.instant(held.start))
        )
        first = int(found.days[start]) if start < len(found.days) else int(found.days[-1]) + 1
        self._day, self._mean = found.days[whole] - first, found.total[whole] / found.rows[whole]
        self.length = int(self._day[-1]) + 1
        rows = int(found.rows[start:].sum())
        self.data = {"start": held.start.isoformat(), "end": held.end.isoformat(), "days": len(found.days) - start, "rows": rows}
        past = self._day < 0
        if past.any() and self.length > 0 and np.ptp(self._day[past]) >= 3 * self.length:
            self._expected = _expected(_columns(found, whole, context), self._mean, past)
            self._usual = float(np.abs(self._mean[past]).mean())
            starts = range(int(self._day[0]), -self.length + 1, EVERY)
            levels = [self._window(start) for start in starts]
            self._earlier = {start: level for start, level in zip(starts, levels, strict=True) if level is not None}

    def level(self, back: int) -> float | None:
        """By how much the level of the window ``back`` days before the hold-out differs from what is expected, as a share of it."""
        return self._window(-back) if self._earlier else None

    def spread(self, back: int) -> _Spread | None:
        """Of earlier changes over as many days; where the history is too short for that, what levels alone let expect."""
        apart = {start: level - self._earlier[start - back] for start, level in self._earlier.items() if start - back in self._earlier}
        changes = apart if len(apart) >= FEWEST else {start: np.sqrt(2) * level for start, level in self._earlier.items()}
        if len(changes) < FEWEST:
            return None
        size = float(np.sqrt(np.mean(np.square(list(changes.values())))))
        return _Spread(size=size, count=1 + (max(changes) - min(changes)) / self.length)

    def _window(self, start: int) -> float | None:
        chosen = (self._day >= start) & (self._day < start + self.length)
        if chosen.sum() < self.length / 2:
            return None
        usual = max(float(np.abs(self._mean[chosen]).mean()), FLOOR * self._usual)
        return float((self._mean[chosen] - self._expected[chosen]).mean()) / usual if usual > 0 else 0.0


def _columns(found: Profile, whole: npt.NDArray[np.bool_], context: base.CheckContext) -> Floats:
    """What a day's mean may depend on: exogenous means and their squares, the weekday and, with more than a year of history, the season."""
    days = found.days[whole]
    columns = [np.eye(7)[(days - 4) % 7]]
    for mean in found.exogenous.values():
        known = mean[whole]
        middle = np.nanmean(known) if not np.isnan(known).all() else 0.0
        centred = np.where(np.isnan(known), 0.0, known - middle)
        columns.append(np.column_stack([centred, centred**2]))
    if np.ptp(days) >= SEASONS:
        turn = 2 * np.pi * days / 365.2425
        columns.append(np.column_stack([f(k * turn) for k in (1, 2) for f in (np.sin, np.cos)]))
    return np.column_stack(columns)


def _expected(columns: Floats, target: Floats, past: npt.NDArray[np.bool_]) -> Floats:
    """Ridge regression on the days before the hold-out; clipped, so that a day unlike any other gives no wild expectation."""
    middle, scale = columns[past].mean(axis=0), columns[past].std(axis=0)
    scaled = np.clip((columns - middle) / np.where(scale > 0, scale, 1.0), -4, 4)
    fit, level = scaled[past], target[past].mean()
    penalty = RIDGE * len(fit) * np.eye(fit.shape[1])
    weights = np.linalg.solve(fit.T @ fit + penalty, fit.T @ (target[past] - level))
    expected: Floats = level + scaled @ weights
    return expected
