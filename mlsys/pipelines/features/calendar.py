"""Feature ``calendar``: hour of day, day of week and time of year in local time, each as a point on a circle; holidays. Reads no data.

pandas is imported late: a definition with options is checked against this class by processes that never compute a feature.
"""

import importlib.util
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mlsys import errors
from mlsys.pipelines import base
from mlsys.records import Layout

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

YEAR_DAYS = 365.2425
WHOLE_YEAR = timedelta(days=330)  # with some days to spare
NEIGHBOURS = {"holiday": 0, "holiday_before": 1, "holiday_after": -1}  # days until the holiday


class Calendar(base.Feature):
    """Hours are left out at a frequency of a day or more, weekdays and holidays at a week or more: they would stand still.

    ``year``: the time of year; left out, only if the training data spans one: of a season that was never seen it tells nothing, and trees
    take the nearest that they know for it.
    ``holidays``: a country's code, such as NL, or with a part of it, DE-BY (ISO 3166; needs the extra mlsys[holidays]): whether the row's
    day, the next or the one before is a public holiday there.
    """

    def __init__(self, *, year: bool | None = None, holidays: str | None = None) -> None:
        self._year, self._place = year, None if holidays is None else _place(holidays)

    def settle(self, frame: "pd.DataFrame", layout: Layout) -> dict[str, Any]:
        return {} if self._year is not None else {"year": bool(frame.index.max() - frame.index.min() >= WHOLE_YEAR)}

    def lookback(self, layout: Layout) -> timedelta:
        return timedelta(0)

    def source(self, column: str, layout: Layout) -> str | None:
        return "holiday" if column.startswith("holiday") else column.rpartition("_")[0]

    def compute(self, series: "pd.DataFrame", rows: "pd.DatetimeIndex", issued: "pd.DatetimeIndex", layout: Layout) -> "pd.DataFrame":
        import numpy as np
        import pandas as pd

        from mlsys.pipelines import calendar

        wall = calendar.wall(rows, layout.timezone)
        turns = {} if self._year is False else {"year": wall / (YEAR_DAYS * calendar.DAY_US)}
        if layout.frequency < timedelta(days=7):
            turns["weekday"] = (wall - calendar.MONDAY_US) // calendar.DAY_US % 7 / 7
        if layout.frequency < timedelta(days=1):
            turns["hour"] = wall % calendar.DAY_US / calendar.DAY_US
        circle = {"sin": np.sin, "cos": np.cos}
        columns = {f"{name}_{side}": f(2 * np.pi * turn) for name, turn in turns.items() for side, f in circle.items()}
        if self._place and layout.frequency < timedelta(days=7):
            columns |= _holidays(calendar.days(rows, layout.timezone), *self._place)
        return pd.DataFrame(columns, index=rows)


def _place(code: str) -> tuple[str, str | None]:
    """Country and part of it. Raises Invalid for what the library does not know, or when it is not there."""
    if importlib.util.find_spec("holidays") is None:
        raise errors.Invalid({"holidays": "Holidays need a library that is not installed: pip install 'mlsys[holidays]'."})
    import holidays

    country, _, part = code.upper().partition("-")
    try:
        holidays.country_holidays(country, subdiv=part or None)
    except (NotImplementedError, ValueError):
        text = f"No holidays are known of {code!r}; write a country's code such as NL, or with a part of it, such as DE-BY (ISO 3166)."
        raise errors.Invalid({"holidays": text}) from None
    return country, part or None


def _holidays(days: "npt.NDArray[np.int64]", country: str, part: str | None) -> "dict[str, Any]":
    """1.0 or 0.0 for each row, by how far its local day lies from a holiday."""
    import holidays
    import numpy as np

    from mlsys.pipelines import calendar

    if not len(days):
        return {name: np.zeros(0) for name in NEIGHBOURS}
    years = (np.array([days.min() - 1, days.max() + 1]).astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970).tolist()
    known = holidays.country_holidays(country, subdiv=part, years=range(years[0], years[1] + 1))
    numbers = np.array(sorted((date - calendar.EPOCH.date()).days for date in known), dtype=np.int64)
    return {name: np.isin(days + away, numbers).astype(np.float64) for name, away in NEIGHBOURS.items()}
