"""Feature ``exogenous``: what is known in advance (weather forecasts, holidays), now and around each row. By timestamp, never by row.

pandas is imported late: a definition with options is checked against this class by processes that never compute a feature.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from mlsys import errors
from mlsys.pipelines import base, durations
from mlsys.records import Layout

if TYPE_CHECKING:
    import pandas as pd

REACH = 2  # steps to either side
DAY = timedelta(days=1)


class Exogenous(base.Feature):
    """Per column: the value now, one and two steps (an hour, or the frequency if longer) before and after, the mean over these two steps to
    either side, and the mean of the local day.

    ``known``: column -> how long before its own time a value is known (an ISO 8601 duration). Columns that are not named are known as far
    ahead as the source tells. Of the others nothing is seen that was not known at a row's issue time.
    """

    def __init__(self, *, known: Mapping[str, str] | None = None) -> None:
        self._known = {name: _duration(name, text) for name, text in (known or {}).items()}

    def known(self, layout: Layout) -> Mapping[str, timedelta]:
        if layout.exogenous is not None:
            for name in self._known:
                if name not in layout.exogenous:
                    raise errors.Invalid({f"known.{name}": "This is not one of the model's exogenous columns; leave it out."})
        return {f"known.{name}": lead for name, lead in self._known.items()}

    def columns(self) -> Mapping[str, str]:
        return {f"known.{name}": name for name in self._known}

    def lookback(self, layout: Layout) -> timedelta:
        return max(DAY, REACH * max(timedelta(hours=1), layout.frequency)) + timedelta(hours=1)

    def lookahead(self, layout: Layout) -> timedelta:
        return self.lookback(layout)

    def source(self, column: str, layout: Layout) -> str | None:
        fitting = [name for name in layout.exogenous or () if column.removeprefix("x.").startswith(name)]
        return max(fitting, key=len, default=None)  # one column's name may begin with another's

    def compute(self, series: "pd.DataFrame", rows: "pd.DatetimeIndex", issued: "pd.DatetimeIndex", layout: Layout) -> "pd.DataFrame":
        import numpy as np
        import pandas as pd

        from mlsys.pipelines import surroundings

        names = [name for name in layout.exogenous or () if name in series]
        values = series[names].to_numpy(dtype=np.float64)
        there = pd.DatetimeIndex(series.index)
        around = surroundings.around(values, there, rows, layout)
        for column, name in enumerate(names):
            if name in self._known:
                surroundings.hide(around, column, rows, issued + self._known[name], layout)
        stride = surroundings.stride(layout)
        parts = {"": around[0], **{f"_{i:+d}": around[i * stride] for i in (-2, -1, 1, 2)}, "_centred": surroundings.mean(around)}
        if layout.frequency < DAY:
            parts["_day"] = surroundings.day_mean(values, there, rows, layout)
            late = [i for i, name in enumerate(names) if self._known.get(name, timedelta.max) < max(layout.horizon, DAY)]
            parts["_day"][:, late] = np.nan  # it would tell of the rest of the day
        columns = [f"x.{name}{part}" for part in parts for name in names]  # prefixed: a user's column may have any name
        return pd.DataFrame(np.concatenate(list(parts.values()), axis=1), index=rows, columns=columns)


def _duration(name: str, text: str) -> timedelta:
    try:
        lead = durations.parse_duration(text)
    except (ValueError, TypeError, AttributeError):
        lead = timedelta(-1)
    if lead < timedelta(0):
        raise errors.Invalid({f"known.{name}": "Write an ISO 8601 duration such as P1D: how long before its time a value is known."})
    return lead
