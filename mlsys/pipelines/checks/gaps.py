"""Check ``gaps``: how often, and for how long, timestamps are missing between the first and the last. Never blocks: lags go by timestamp."""

import numpy as np
import pandas as pd

from mlsys.pipelines import base, calendar, durations
from mlsys.records import Verdict

SLACK = 1.1  # a local day may last 25 hours: not a gap in daily data


class Gaps(base.DataCheck):
    """No options."""

    def check(self, frame: pd.DataFrame, context: base.CheckContext) -> Verdict:
        layout = context.layout
        groups = [group for _, group in frame.groupby(list(layout.series_key))] if layout.series_key else [frame]
        step = calendar.microseconds(layout.frequency)
        widths = [np.diff(np.unique(calendar.instants(pd.DatetimeIndex(group[layout.timestamp])))) for group in groups]
        jumps = np.concatenate([width[width > step * SLACK] for width in widths]) - step if widths else np.empty(0)
        detail = "no gap"
        if len(jumps):
            longest = durations.format_duration(pd.Timedelta(int(jumps.max()), "us").floor("s").to_pytimedelta())
            detail = f"{len(jumps)} gaps, the longest {longest}, together {durations.format_duration(pd.Timedelta(int(jumps.sum()), 'us').floor('s').to_pytimedelta())}"
        return Verdict(name="gaps", passed=not len(jumps), value=len(jumps), threshold=0, detail=detail, blocking=False)
