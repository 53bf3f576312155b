"""Check ``frozen_target``: does the target stand still for longer than it does by nature?"""

from datetime import timedelta
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys.pipelines import base, checking, cleaning
from mlsys.records import Verdict


class FrozenTarget(base.DataCheck):
    """A stretch of one value for over ``hours``, of which at least ``coverage`` of the rows are there: the zeros of two solar nights with a
    missing day between them are no fault. ``most``: share of the hold-out's rows in such stretches from which on nothing can be judged."""

    stage: ClassVar[Literal["series"]] = "series"
    parameters: ClassVar = {
        "hours": base.Parameter(type=int, low=1, high=10_000),
        "coverage": base.Parameter(type=float, low=0, high=1),
        "most": base.Parameter(type=float, low=0, high=1),
    }

    def __init__(self, *, hours: int = 24, coverage: float = 0.8, most: float = 0.1) -> None:
        self._over, self._coverage, self._most = timedelta(hours=hours), coverage, most

    def check(self, frame: pd.DataFrame, context: base.CheckContext) -> tuple[Verdict, ...]:
        moving = {key: one for key, one in context.series.items() if _judged(one[context.layout.target].to_numpy(dtype=np.float64))}
        frozen = {key: one[self._frozen(one, context)] for key, one in moving.items()}
        rows = checking.inside(frozen, context.window)
        count = sum(len(one) for one in rows.values())
        detail = (
            f"{count} rows stand still for over {self._over}, the first from {_first(rows):%Y-%m-%d %H:%M} UTC" if count else "it moves"
        )
        whole = checking.inside(context.series, context.window)
        told = Verdict(
            name="frozen_target", passed=not count, value=count, threshold=0, detail=detail, blocking=False,
            data=checking.rests_on(context.window, [pd.DatetimeIndex(one.index) for one in whole.values()], context.layout),
        )  # fmt: skip
        return (told,) if context.holdout is None else (told, self._ground(frozen, context))

    def _ground(self, frozen: dict[tuple[object, ...], pd.DataFrame], context: base.CheckContext) -> Verdict:
        assert context.holdout is not None
        held = checking.inside(context.series, context.holdout)
        total = sum(len(one) for one in held.values())
        count = sum(len(one) for one in checking.inside(frozen, context.holdout).values())
        share = count / total if total else 0.0
        return Verdict(
            name="frozen_target_holdout", passed=share <= self._most, value=round(share, 4), threshold=self._most,
            detail=f"{count} of the {total} rows of the hold-out stand still", ground=True,
            data=checking.rests_on(context.holdout, [pd.DatetimeIndex(one.index) for one in held.values()], context.layout),
        )  # fmt: skip

    def _frozen(self, series: pd.DataFrame, context: base.CheckContext) -> npt.NDArray[np.bool_]:
        values = series[context.layout.target].to_numpy(dtype=np.float64)
        still = cleaning.still(values) & ~np.isnan(values)
        found: npt.NDArray[np.bool_] = cleaning.long(
            still, series.index, context.layout, over=self._over, coverage=self._coverage
        ) & ~np.isnan(values)
        return found


def _judged(values: npt.NDArray[np.float64]) -> bool:
    """What often rests by nature (a count that is mostly 0) is not; what never moves at all is."""
    known = values[~np.isnan(values)]
    return cleaning.moves(values) or (len(known) > 0 and bool((known == known[0]).all()))


def _first(rows: dict[tuple[object, ...], pd.DataFrame]) -> pd.Timestamp:
    return min(pd.Timestamp(one.index[0]) for one in rows.values() if len(one))
