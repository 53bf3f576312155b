"""Check ``revised``: was history rewritten since the model in use was trained? Labels scaled or shifted, columns mixed up.

Each version keeps a profile of the days that it was trained on. That the data now tells otherwise of the same days is what no error on it
can show: labels that are all 5 % higher, or an hour late, give a candidate that looks as good as ever. Corrections of single rows, and late
corrections of the last days, are usual and within the bounds.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from mlsys.pipelines import base, calendar
from mlsys.pipelines.profile import Profile
from mlsys.records import Json, Verdict

MINUTES = 1440
WHOLE = 0.9  # days are compared where one saw at least this share of the rows that the other saw
Floats = npt.NDArray[np.float64]


class Revised(base.DataCheck):
    """Bounds: ``level`` of the change of the target's sum over all days that an earlier version saw, and ``recently`` over the last
    ``recent_days`` of them; ``day`` of the mean change of a day's sum; ``minutes`` by which the target moved within the day (null: half the
    frequency); ``exogenous`` of the mean change of a column's daily means, as a share of how they vary. Judged from ``fewest_days`` on."""

    stage: ClassVar[Literal["series"]] = "series"
    purposes: ClassVar[tuple[str, ...]] = ("train",)
    parameters: ClassVar = {
        "level": base.Parameter(type=float, low=0, high=100),
        "recently": base.Parameter(type=float, low=0, high=100),
        "recent_days": base.Parameter(type=int, low=1, high=366),
        "day": base.Parameter(type=float, low=0, high=100),
        "minutes": base.Parameter(type=float, low=0, high=720),
        "exogenous": base.Parameter(type=float, low=0, high=100),
        "fewest_days": base.Parameter(type=int, low=1, high=366),
    }

    def __init__(
        self, *, level: float = 0.02, recently: float = 0.1, recent_days: int = 14, day: float = 0.2, minutes: float | None = None,
        exogenous: float = 0.5, fewest_days: int = 7,
    ) -> None:  # fmt: skip
        self._level, self._recently, self._recent_days, self._day = level, recently, recent_days, day
        self._minutes, self._exogenous, self._fewest = minutes, exogenous, fewest_days

    def check(self, frame: object, context: base.CheckContext) -> tuple[Verdict, ...]:
        both = _common(context.profile, context.earlier)
        if both is None or len(both.now.days) < self._fewest:
            known = "no earlier version saw enough of these days" if context.earlier else "no earlier version to compare with"
            return (
                Verdict(name="revised", passed=True, value=0 if both is None else len(both.now.days), threshold=self._fewest, detail=known),
            )
        half = calendar.microseconds(context.layout.frequency) / 60e6 / 2
        minutes = self._minutes if self._minutes is not None else min(half, 30.0)
        recent = both.last(self._recent_days)
        numbers = (
            ("revised_level", both.level(), self._level, "change of the target's sum over all days that an earlier version saw", both),
            ("revised_recently", recent.level(), self._recently, "the same over the last of those days", recent),
            ("revised_days", both.change(), self._day, "mean change of a day's sum", both),
            ("revised_clock", both.minutes(), minutes, "minutes that the target has moved within the day", both),
            *(
                (f"revised_exogenous.{name}", both.exogenous(name), self._exogenous, f"mean change of the daily means of {name}", both)
                for name in sorted(both.now.exogenous.keys() & both.then.exogenous.keys())
            ),
        )
        return tuple(_verdict(*number) for number in numbers)


@dataclass(frozen=True, kw_only=True)
class _Both:
    """The days that both saw with about as many rows: as they are told now, and as they were told then."""

    now: Profile
    then: Profile
    data: Json

    def last(self, days: int) -> "_Both":
        recent = self.now.days > self.now.days[-1] - days
        return _pair(self.now, self.then, recent, recent)

    def level(self) -> float:
        return _share(float((self.now.total - self.then.total).sum()), float(self.then.size.sum()))

    def change(self) -> float:
        return _share(float(np.abs(self.now.total - self.then.total).sum()), float(self.then.size.sum()))

    def minutes(self) -> float:
        turned = (self.now.cosine + 1j * self.now.sine) * (self.then.cosine - 1j * self.then.sine)
        return float(np.angle(turned.sum())) / (2 * np.pi) * MINUTES

    def exogenous(self, name: str) -> float:
        now, then = self.now.exogenous[name], self.then.exogenous[name]
        known = ~(np.isnan(now) | np.isnan(then))
        if not known.any():
            return 0.0
        varies = float(np.abs(then[known] - then[known].mean()).mean())
        return _share(float(np.abs(now[known] - then[known]).mean()), varies)


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float(np.sign(part))


def _common(now: Profile | None, earlier: tuple[Profile, ...]) -> _Both | None:
    """With the newest earlier version that saw enough of these days."""
    best: _Both | None = None
    for then in earlier:
        if now is None:
            return None
        _, ours, theirs = np.intersect1d(now.days, then.days, assume_unique=True, return_indices=True)
        same = np.minimum(now.rows[ours], then.rows[theirs]) >= WHOLE * np.maximum(now.rows[ours], then.rows[theirs])
        ours, theirs = ours[same], theirs[same]
        if len(ours) and (best is None or len(ours) > 2 * len(best.now.days)):
            best = _pair(now, then, ours, theirs)
    return best


def _pair(now: Profile, then: Profile, ours: Any, theirs: Any) -> _Both:
    now, then = _chosen(now, ours), _chosen(then, theirs)
    names = calendar.day_names(now.days[[0, -1]] + np.array([0, 1])) if len(now.days) else ["", ""]
    return _Both(now=now, then=then, data={"start": names[0], "end": names[1], "days": len(now.days), "rows": int(now.rows.sum())})


def _chosen(profile: Profile, rows: Any) -> Profile:
    plain = {name: getattr(profile, name)[rows] for name in ("days", "rows", "total", "size", "cosine", "sine")}
    return Profile(**plain, exogenous={name: mean[rows] for name, mean in profile.exogenous.items()})


def _verdict(name: str, value: float, bound: float, what: str, both: _Both) -> Verdict:
    return Verdict(
        name=name, passed=bool(abs(value) <= bound), value=round(value, 4), threshold=bound, detail=what, ground=True, data=both.data
    )
