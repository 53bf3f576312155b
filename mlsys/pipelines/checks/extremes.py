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
    after, and by ``margin`` from every other row within ``days`` to both sides: told as a warning. One that does so by ``jump`` and lies by
    ``impossible`` beyond the range is no measurement, and is left out as an impossible target is."""

    stage: ClassVar[Literal["target"]] = "target"
    parameters: ClassVar = {
        "jump": base.Parameter(type=float, low=0, high=10),
        "margin": base.Parameter(type=float, low=0, high=10),
        "days": base.Parameter(type=int, low=1, high=366),
        "impossible": base.Parameter(type=float, low=0, high=1000),
    }

    def __init__(self, *, jump: float = 0.2, margin: float = 0.03, days: int = 28, impossible: float = 0.5) -> None:
        self._jump, self._margin, self._days, self._impossible = jump, margin, days, impossible

    def doubtful(self, series: pd.DataFrame, context: base.CheckContext) -> npt.NDArray[np.bool_]:
        return self._found(series, context)["left_out"].to_numpy()

    def check(self, frame: pd.DataFrame, context: base.CheckContext) -> Verdict:
        parts = list(checking.inside({key: self._found(one, context) for key, one in context.series.items()}, context.window).values())
        rows = pd.concat(parts) if parts else pd.DataFrame({"target": [], "excess": [], "left_out": []})
        found = rows[(rows["excess"] > 0) | rows["left_out"].astype(bool)]
        return Verdict(
            name="extremes",
            passed=found.empty,
            value=len(found),
            threshold=0,
            detail=_detail(found),
            blocking=False,
            data=checking.rests_on(context.window, [pd.DatetimeIndex(part.index) for part in parts], context.layout),
        )

    def _found(self, series: pd.DataFrame, context: base.CheckContext) -> pd.DataFrame:
        """Per row: ``excess``, by how much of the range an isolated extreme stands out from all rows around it (else 0); ``left_out``."""
        target = series[context.layout.target].to_numpy(dtype=np.float64)
        known = np.flatnonzero(~np.isnan(target))
        excess, beyond = np.zeros(len(target)), np.zeros(len(target), dtype=bool)
        low, high = np.quantile(target[known], (TAIL, 1 - TAIL)) if len(known) >= FEWEST_ROWS else (0.0, 0.0)
        if high > low:
            width = max(1, timedelta(days=self._days) // context.layout.frequency)
            scaled = (target[known] - low) / (high - low)
            for values in (scaled, 1 - scaled):
                peaks = self._peaks(values)
                excess[known] = np.maximum(excess[known], self._excess(values, peaks, width))
                beyond[known] |= peaks & (values >= 1 + self._impossible)
        return pd.DataFrame({"target": target, "excess": excess, "left_out": beyond}, index=series.index)

    def _peaks(self, values: Floats) -> npt.NDArray[np.bool_]:
        beside = np.maximum(np.concatenate([[-np.inf], values[:-1]]), np.concatenate([values[1:], [-np.inf]]))
        found: npt.NDArray[np.bool_] = values - beside >= self._jump
        return found

    def _excess(self, values: Floats, peaks: npt.NDArray[np.bool_], width: int) -> Floats:
        if not peaks.any():
            return np.zeros(len(values))
        around = np.fmax(_highest_before(values, width), _highest_before(values[::-1], width)[::-1])
        excess = values - around
        return np.where(peaks & (excess >= self._margin) & np.isfinite(excess), excess, 0.0)


def _highest_before(values: Floats, width: int) -> Floats:
    return pd.Series(values).rolling(width, min_periods=1).max().shift(1).to_numpy(dtype=np.float64)


def _detail(found: pd.DataFrame) -> str:
    if found.empty:
        return "no isolated extreme"
    left_out = int(found["left_out"].sum())
    at = found["excess"].idxmax()
    value = found.loc[[at], "target"].iloc[0]
    fate = f"; {left_out} no measurement can be, and are left out" if left_out else ""
    return f"{len(found)} isolated extremes, the furthest {value:.6g} at {at:%Y-%m-%d %H:%M} UTC{fate}"
