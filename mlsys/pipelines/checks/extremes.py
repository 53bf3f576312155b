"""Check ``extremes``: does a single row stand out far above (or below) its neighbours and all other rows around it?"""

from datetime import timedelta
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys.pipelines import base, checking
from mlsys.records import Verdict

Floats = npt.NDArray[np.float64]
TAIL = 0.001  # the range is taken between these quantiles, so that the extremes do not stretch their own measure
FEWEST_ROWS = 100


class Extremes(base.DataCheck):
    """Shares of the target's range (its 0.1 % to its 99.9 % quantile). An isolated extreme stands out by ``jump`` from the rows before and
    after, and by ``margin`` from every other row within ``days`` to both sides: told as a warning. One that stands out by ``impossible``
    is no measurement, and is left out as an impossible target is."""

    stage: ClassVar[Literal["target"]] = "target"
    parameters: ClassVar = {
        "jump": base.Parameter(type=float, low=0, high=10),
        "margin": base.Parameter(type=float, low=0, high=10),
        "days": base.Parameter(type=int, low=1, high=366),
        "impossible": base.Parameter(type=float, low=0, high=1000),
    }

    def __init__(self, *, jump: float = 0.1, margin: float = 0.02, days: int = 28, impossible: float = 0.5) -> None:
        self._jump, self._margin, self._days, self._impossible = jump, margin, days, impossible

    def doubtful(self, series: pd.DataFrame, context: base.CheckContext) -> npt.NDArray[np.bool_]:
        return self._excess(series, context) >= self._impossible

    def check(self, frame: pd.DataFrame, context: base.CheckContext) -> Verdict:
        parts, left_out = [], 0
        for one in context.series.values():
            excess = pd.Series(self._excess(one, context), index=one.index)
            inside = checking.inside({(): pd.DataFrame({"excess": excess, "target": one[context.layout.target]})}, context.window)[()]
            left_out += int((inside["excess"] >= self._impossible).sum())
            parts.append(inside)
        rows = pd.concat(parts) if parts else pd.DataFrame({"excess": [], "target": []})
        found = rows[rows["excess"] > 0]
        return Verdict(
            name="extremes",
            passed=found.empty,
            value=len(found),
            threshold=0,
            detail=_detail(found, left_out),
            blocking=False,
            data=checking.rests_on(context.window, [pd.DatetimeIndex(part.index) for part in parts], context.layout),
        )

    def _excess(self, series: pd.DataFrame, context: base.CheckContext) -> Floats:
        """By how much of the range each isolated extreme stands out from all rows around it; 0 for every other row."""
        values = series[context.layout.target].to_numpy(dtype=np.float64)
        known = np.flatnonzero(~np.isnan(values))
        excess = np.zeros(len(values))
        if len(known) < FEWEST_ROWS:
            return excess
        low, high = np.quantile(values[known], (TAIL, 1 - TAIL))
        if high > low:
            width = max(1, timedelta(days=self._days) // context.layout.frequency)
            scaled = values[known] / (high - low)
            excess[known] = np.maximum(self._above(scaled, width), self._above(-scaled, width))
        return excess

    def _above(self, values: Floats, width: int) -> Floats:
        beside = np.maximum(np.concatenate([[-np.inf], values[:-1]]), np.concatenate([values[1:], [-np.inf]]))
        peaks = values - beside >= self._jump
        if not peaks.any():
            return np.zeros(len(values))
        around = np.fmax(_highest_before(values, width), _highest_before(values[::-1], width)[::-1])
        excess = values - around
        return np.where(peaks & (excess >= self._margin) & np.isfinite(excess), excess, 0.0)


def _highest_before(values: Floats, width: int) -> Floats:
    return pd.Series(values).rolling(width, min_periods=1).max().shift(1).to_numpy(dtype=np.float64)


def _detail(found: pd.DataFrame, left_out: int) -> str:
    if found.empty:
        return "no isolated extreme"
    at = found["excess"].idxmax()
    value = found.loc[[at], "target"].iloc[0]
    fate = f"; {left_out} of them no measurement can be, and are left out" if left_out else ""
    return f"{len(found)} isolated extremes, the furthest {value:.6g} at {at:%Y-%m-%d %H:%M} UTC{fate}"
