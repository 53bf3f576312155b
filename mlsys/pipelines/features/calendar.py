"""Feature ``calendar``: hour of day, day of week and time of year in local time, each as a point on a circle. Reads no data."""

from datetime import timedelta

import numpy as np
import pandas as pd

from mlsys.pipelines import base, calendar
from mlsys.records import Layout

YEAR_DAYS = 365.2425


class Calendar(base.Feature):
    """No options. Hours are left out at a frequency of a day or more, weekdays at a week or more: they would stand still."""

    def lookback(self, layout: Layout) -> timedelta:
        return timedelta(0)

    def source(self, column: str, layout: Layout) -> str | None:
        return column.rpartition("_")[0]

    def compute(self, series: pd.DataFrame, rows: pd.DatetimeIndex, issued: pd.DatetimeIndex, layout: Layout) -> pd.DataFrame:
        wall = calendar.wall(rows, layout.timezone)
        turns = {"year": wall / (YEAR_DAYS * calendar.DAY_US)}
        if layout.frequency < timedelta(days=7):
            turns["weekday"] = (wall - calendar.MONDAY_US) // calendar.DAY_US % 7 / 7
        if layout.frequency < timedelta(days=1):
            turns["hour"] = wall % calendar.DAY_US / calendar.DAY_US
        circle = {"sin": np.sin, "cos": np.cos}
        return pd.DataFrame(
            {f"{name}_{side}": f(2 * np.pi * turn) for name, turn in turns.items() for side, f in circle.items()}, index=rows
        )
