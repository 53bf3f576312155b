"""Check ``target``: does the target hold numbers at all?"""

from typing import ClassVar

import pandas as pd

from mlsys import errors
from mlsys.pipelines import base, checking
from mlsys.records import Verdict


class Target(base.DataCheck):
    """``minimum``: share of the rows with a target below which a warning is given. None at all blocks a training."""

    error: ClassVar[type[errors.BadData]] = errors.NoTarget
    purposes: ClassVar[tuple[str, ...]] = ("train",)
    parameters: ClassVar = {"minimum": base.Parameter(type=float, low=0, high=1)}

    def __init__(self, *, minimum: float = 0.8) -> None:
        self._minimum = minimum

    def check(self, frame: pd.DataFrame, context: base.CheckContext) -> Verdict:
        name, training = context.layout.target, context.purpose == "train"
        known = int(frame[name].notna().sum()) if name in frame else 0
        share = known / len(frame) if len(frame) else 0.0
        detail = f"{known} of {len(frame)} rows have a number in '{name}'"
        if training and not known:
            detail += ": a model cannot be trained without it; check the column's name and the window."
        none = training and not known
        passed = not none and (share >= self._minimum or not training)
        rows = checking.rests_on(context.window, pd.DatetimeIndex(frame[context.layout.timestamp]), context.layout)
        return Verdict(
            name="target", passed=passed, value=round(share, 4), threshold=self._minimum, detail=detail, blocking=none, data=rows
        )
