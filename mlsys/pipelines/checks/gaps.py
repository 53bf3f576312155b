"""Check ``gaps``: how often, and how long, timestamps are missing between the first and the last. Never blocks: lags go by timestamp."""

from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys.pipelines import base, calendar, checking, durations
from mlsys.records import Verdict

MOST = 4  # lengths told of
SLACK = 1.1  # a local day may last 25 hours: not a gap in daily data


class Gaps(base.DataCheck):
    """No options."""

    def check(self, frame: pd.DataFrame, context: base.CheckContext) -> Verdict:
        layout = context.layout
        groups = [group for _, group in frame.groupby(list(layout.series_key))] if layout.series_key else [frame]
        step = calendar.microseconds(layout.frequency)
        times = [np.unique(calendar.instants(pd.DatetimeIndex(group[layout.timestamp]))) for group in groups]
        widths = np.concatenate([np.empty(0, dtype=np.int64), *[np.diff(t) for t in times]])
        jumps = widths[widths > int(step * SLACK)] - step
        detail = f"{len(jumps)} gaps ({_lengths(jumps)}), together {_text(jumps.sum())}" if len(jumps) else "no gap"
        rows = checking.rests_on(context.window, pd.DatetimeIndex(frame[layout.timestamp]), layout)
        return Verdict(name="gaps", passed=not len(jumps), value=len(jumps), threshold=0, detail=detail, blocking=False, data=rows)


def _lengths(jumps: npt.NDArray[np.int64]) -> str:
    """How many of each length, the commonest first."""
    lengths, counts = np.unique(jumps, return_counts=True)
    order = np.lexsort((-lengths, -counts))
    told = [f"{counts[i]} of {_text(lengths[i])}" for i in order[:MOST]]
    return ", ".join([*told, "..."] if len(order) > MOST else told)


def _text(microseconds: int) -> str:
    return durations.format_duration(timedelta(seconds=int(microseconds) // 1_000_000))
