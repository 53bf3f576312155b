"""Check ``frozen_exogenous``: does an exogenous feed stand still for over 12 hours? Cleaning takes such stretches as missing."""

from typing import Any, ClassVar, Literal

import pandas as pd

from mlsys.pipelines import base, calendar, checking
from mlsys.records import Verdict, Window


class FrozenExogenous(base.DataCheck):
    """A warning; ``most``: share of the hold-out's rows so found from which on nothing can be judged."""

    stage: ClassVar[Literal["series"]] = "series"
    parameters: ClassVar = {"most": base.Parameter(type=float, low=0, high=1)}

    def __init__(self, *, most: float = 0.2) -> None:
        self._most = most

    def check(self, frame: pd.DataFrame, context: base.CheckContext) -> tuple[Verdict, ...]:
        touched, rows = _touched(context, context.window), _rows(context, context.window)
        count = sum(len(index) for index in touched)
        share = count / max(1, sum(len(index) for index in rows))
        days = count * pd.Timedelta(context.layout.frequency) / pd.Timedelta(days=1)
        detail = f"{share:.1%} of the rows ({days:.1f} days) are frozen or all zero: taken as missing" if count else "no dead stretch"
        told = Verdict(
            name="frozen_exogenous", passed=not count, value=round(share, 4), threshold=0.0, detail=detail, blocking=False,
            data=checking.rests_on(context.window, rows, context.layout),
        )  # fmt: skip
        return (told,) if context.holdout is None else (told, self._ground(context, context.holdout))

    def _ground(self, context: base.CheckContext, holdout: Window) -> Verdict:
        touched, rows = _touched(context, holdout), _rows(context, holdout)
        count, total = (sum(len(index) for index in parts) for parts in (touched, rows))
        share = count / total if total else 0.0
        return Verdict(
            name="frozen_exogenous_holdout", passed=share <= self._most, value=round(share, 4), threshold=self._most,
            detail=f"{count} of the {total} rows of the hold-out have frozen exogenous values", ground=True,
            data=checking.rests_on(holdout, rows, context.layout),
        )  # fmt: skip


def _rows(context: base.CheckContext, window: Window) -> list[pd.DatetimeIndex]:
    return [pd.DatetimeIndex(one.index) for one in checking.inside(context.series, window).values()]


def _touched(context: base.CheckContext, window: Window) -> list[pd.DatetimeIndex]:
    """Timestamps that cleaning took a value from."""
    names = list(context.layout.exogenous or ())
    found: list[pd.DatetimeIndex] = []
    for key, one in context.series.items():
        cleaned: Any = context.cleaned.get(key)
        if cleaned is not None and cleaned is not one and names:
            index = pd.DatetimeIndex(one.index)
            lost = (one[names].notna() & cleaned[names].isna()).any(axis=1).to_numpy()
            found.append(index[lost & calendar.inside(index, window)])
    return found
