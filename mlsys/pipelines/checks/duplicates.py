"""Check ``duplicates``: does a series hold two rows for one timestamp?"""

from typing import ClassVar

import pandas as pd

from mlsys import errors
from mlsys.pipelines import base, checking
from mlsys.records import Verdict


class Duplicates(base.DataCheck):
    """No options. Blocking in training; in prediction a warning, and the last row is used."""

    error: ClassVar[type[errors.BadData]] = errors.DuplicateTimestamps

    def check(self, frame: pd.DataFrame, context: base.CheckContext) -> Verdict:
        names = [*context.layout.series_key, context.layout.timestamp]
        repeated = frame.duplicated(subset=names)
        count = int(repeated.sum())
        detail = "every timestamp once"
        if count:
            first = frame.loc[repeated, context.layout.timestamp].iloc[0]
            remedy = "keep one row each, or name the columns that tell series apart in `series_key`"
            detail = f"{count} rows repeat a timestamp, the first {first:%Y-%m-%d %H:%M} UTC: {remedy}."
        rows = checking.rests_on(context.window, pd.DatetimeIndex(frame[context.layout.timestamp]), context.layout)
        blocking = context.purpose == "train"
        return Verdict(name="duplicates", passed=count == 0, value=count, threshold=0, detail=detail, blocking=blocking, data=rows)
