"""Check ``impossible_target``: does the target hold what cannot be: a value out of bounds, or power at night? Such rows are left out."""

from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from mlsys.pipelines import base, checking
from mlsys.records import Verdict

TAIL = 0.001


class ImpossibleTarget(base.DataCheck):
    """``low`` and ``high``: bounds of what the target can be, in its unit; left out: none. A row that a feature knows to be 0 (``solar`` by
    night) cannot hold anything else, but for ``trace`` (a share of the target's range): meters have offsets. A warning: these rows are not
    trained on, not scored, and seen by no feature. ``most``: share of them from which on nothing can be judged, since then the clock, the
    place or the unit is wrong."""

    stage: ClassVar[Literal["target"]] = "target"
    parameters: ClassVar = {
        "low": base.Parameter(type=float),
        "high": base.Parameter(type=float),
        "trace": base.Parameter(type=float, low=0, high=1),
        "most": base.Parameter(type=float, low=0, high=1),
    }

    def __init__(self, *, low: float | None = None, high: float | None = None, trace: float = 0.0001, most: float = 0.01) -> None:
        self._low, self._high, self._trace, self._most = low, high, trace, most

    def doubtful(self, series: pd.DataFrame, context: base.CheckContext) -> "np.typing.NDArray[np.bool_]":
        target = series[context.layout.target].to_numpy(dtype=np.float64)
        idle = _idle(series, context) & (np.abs(target) > self._trace * _range(target))
        below = target < self._low if self._low is not None else False
        above = target > self._high if self._high is not None else False
        found: np.typing.NDArray[np.bool_] = (idle | below | above) & ~np.isnan(target)
        return found

    def check(self, frame: pd.DataFrame, context: base.CheckContext) -> tuple[Verdict, ...]:
        parts = list(checking.inside(context.series, context.window).values())
        doubted = {key: one[self.doubtful(one, context)] for key, one in context.series.items()}
        wrong = list(checking.inside(doubted, context.window).values())
        count, total = (sum(len(rows) for rows in frames) for frames in (wrong, parts))
        share, data = (
            count / max(1, total),
            checking.rests_on(context.window, [pd.DatetimeIndex(part.index) for part in parts], context.layout),
        )
        detail = _detail(wrong, context, count, self._low, self._high)
        told = Verdict(name="impossible_target", passed=not count, value=count, threshold=0, detail=detail, blocking=False, data=data)
        if context.purpose != "train":
            return (told,)
        advice = "" if share <= self._most else ": check the time zone, the place and the unit"
        ground = Verdict(
            name="impossible_target_share", passed=share <= self._most, value=round(share, 5), threshold=self._most,
            detail=f"{share:.2%} of the rows hold what cannot be{advice}", ground=True, data=data,
        )  # fmt: skip
        return told, ground


def _range(target: "np.typing.NDArray[np.float64]") -> float:
    """Between the outer thousandths, so that a spike does not stretch it."""
    known = target[~np.isnan(target)]
    low, high = np.quantile(known, (TAIL, 1 - TAIL)) if len(known) else (0.0, 0.0)
    return float(high - low)


def _idle(series: pd.DataFrame, context: base.CheckContext) -> "np.typing.NDArray[np.bool_]":
    index = pd.DatetimeIndex(series.index)
    return context.idle(index) if context.idle is not None else np.zeros(len(index), dtype=bool)


def _detail(wrong: list[pd.DataFrame], context: base.CheckContext, count: int, low: float | None, high: float | None) -> str:
    if not count:
        return "no value that cannot be"
    rows = pd.concat([part[context.layout.target] for part in wrong])
    at = rows.abs().idxmax()
    idle = int(_idle(rows.to_frame(), context).sum())
    bounds = f"{'' if low is None else f'{low:g} <= '}{context.layout.target}{'' if high is None else f' <= {high:g}'}"
    texts = [f"{idle} where it must be 0 (night)"] if idle else []
    texts += [f"{count - idle} outside {bounds}"] if count > idle else []
    return f"{count} rows are left out: {', '.join(texts)}; the largest {rows.loc[[at]].iloc[0]:.4g} at {at:%Y-%m-%d %H:%M} UTC"
