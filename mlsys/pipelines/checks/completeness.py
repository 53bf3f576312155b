"""Check ``completeness``: is there data for the whole window, held against the grid of timestamps it should have?"""

from typing import ClassVar

import pandas as pd

from mlsys import errors
from mlsys.pipelines import base, calendar, checking, durations
from mlsys.records import Verdict


class Completeness(base.DataCheck):
    """``minimum``: share of the expected rows that must be there, blocking in training, a warning in prediction."""

    error: ClassVar[type[errors.BadData]] = errors.TooFewRows
    parameters: ClassVar = {"minimum": base.Parameter(type=float, low=0, high=1)}

    def __init__(self, *, minimum: float = 0.8) -> None:
        self._minimum = minimum

    def check(self, frame: pd.DataFrame, context: base.CheckContext) -> Verdict:
        layout, training = context.layout, context.purpose == "train"
        times = pd.DatetimeIndex(frame[layout.timestamp])
        expected = len(calendar.grid(context.window, layout, calendar.beat(times, layout)))
        keys = list(layout.series_key)
        series = len(frame[keys].drop_duplicates()) if keys else 1
        present = len(frame[[*keys, layout.timestamp]].drop_duplicates())
        share = min(1.0, present / (expected * series)) if expected * series else 0.0
        return Verdict(
            name="completeness",
            passed=share >= self._minimum,
            value=round(share, 4),
            threshold=self._minimum,
            detail=_detail(times, context, present, expected * series, share, self._minimum),
            blocking=training,
            data=checking.rests_on(context.window, times, layout),
        )


def _detail(times: pd.DatetimeIndex, context: base.CheckContext, present: int, expected: int, share: float, minimum: float) -> str:
    window = context.window
    text = f"{present} of {expected} expected rows ({share:.1%}) from {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC"
    if not len(times):
        return f"{text}: the source holds none."
    edges = [f"before {times.min():%Y-%m-%d %H:%M}"] if times.min() - window.start > pd.Timedelta(context.layout.frequency) else []
    edges += [f"after {times.max():%Y-%m-%d %H:%M}"] if window.end - times.max() > 2 * pd.Timedelta(context.layout.frequency) else []
    text += f"; nothing {' or '.join(edges)}" if edges else ""
    if share >= minimum:
        return text
    step = times.unique().sort_values().to_series().diff().median()
    if len(times) > 2 and step > pd.Timedelta(context.layout.frequency):
        given, found = (durations.format_frequency(length) for length in (context.layout.frequency, step.to_pytimedelta()))
        return f"{text}; `frequency` is {given}, but the rows come every {found}: set `frequency: {found}`."
    return f"{text}; at least {minimum:.0%} are needed: choose a window that the data covers."
