from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import synthetic

from mlsys.pipelines import calendar
from mlsys.records import Window

AMSTERDAM = "Europe/Amsterdam"
SPRING, AUTUMN = "2021-03-28", "2021-10-31"  # local days of 23 and 25 hours


def rows(*texts: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(texts, tz="UTC").as_unit("us")


def local(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz=AMSTERDAM)


def test_issue_times__a_day_begins_at_local_midnight_also_when_the_clock_changes() -> None:
    layout = synthetic.layout(timezone=AMSTERDAM)
    for day in (SPRING, AUTUMN):
        hours = pd.date_range(local(day), local(day) + pd.DateOffset(days=1), freq="1h", inclusive="left").tz_convert("UTC")
        assert set(calendar.issue_times(hours, layout)) == {local(day)}
    assert len(hours) == 25


def test_issue_times__short_horizons_step_from_local_midnight() -> None:
    layout = synthetic.layout(timezone="Asia/Kolkata", horizon=timedelta(hours=6))
    issued = calendar.issue_times(rows("2021-06-01 18:30", "2021-06-02 00:29", "2021-06-02 00:30"), layout)
    assert list(issued) == list(rows("2021-06-01 18:30", "2021-06-01 18:30", "2021-06-02 00:30"))


def test_issue_times__weeks_begin_on_mondays() -> None:
    layout = synthetic.layout(horizon=timedelta(days=7))
    issued = calendar.issue_times(rows("2021-06-07 00:00", "2021-06-13 23:00", "2021-06-14 00:00"), layout)
    assert list(issued) == list(rows("2021-06-07", "2021-06-07", "2021-06-14"))


@pytest.mark.parametrize("horizon", [timedelta(hours=3), timedelta(days=1), timedelta(days=3)])
@pytest.mark.parametrize("zone", ["UTC", AMSTERDAM, "America/Santiago", "Atlantic/Azores"])
def test_issue_times__never_after_the_row_and_never_older_than_the_horizon(horizon: timedelta, zone: str) -> None:
    hours = pd.date_range("2021-01-01", "2022-01-01", freq="1h", tz="UTC").as_unit("us")
    age = hours - calendar.issue_times(hours, synthetic.layout(timezone=zone, horizon=horizon))
    assert age.min() == pd.Timedelta(0)
    assert age.max() < horizon + timedelta(hours=1)  # a day of 25 hours


def test_grid__quarter_hours_keep_the_beat_of_the_data() -> None:
    layout = synthetic.layout(frequency=timedelta(minutes=15))
    data = rows("2021-01-01 00:07", "2021-01-01 00:22", "2021-01-01 00:37", "2021-01-01 00:50")
    hour = Window(start=datetime(2021, 1, 1, tzinfo=UTC), end=datetime(2021, 1, 1, 1, tzinfo=UTC))
    found = calendar.grid(hour, layout, calendar.beat(data, layout))
    assert [t.minute for t in found] == [7, 22, 37, 52]


def test_grid__days_are_local_days() -> None:
    layout = synthetic.layout(frequency=timedelta(days=1), timezone=AMSTERDAM)
    midnights = pd.date_range(local("2021-03-20"), local("2021-04-05"), freq="D").tz_convert("UTC")
    whole = Window(start=midnights[0].to_pydatetime(), end=(midnights[-1] + pd.Timedelta(hours=1)).to_pydatetime())
    assert list(calendar.grid(whole, layout, calendar.beat(midnights, layout))) == list(midnights)


def test_grid__a_year_of_hours_is_complete_whatever_the_zone() -> None:
    layout = synthetic.layout(timezone=AMSTERDAM)
    assert len(calendar.grid(synthetic.window(365), layout, calendar.beat(rows("2021-07-01 00:00"), layout))) == 365 * 24


@pytest.mark.parametrize("frequency", [timedelta(hours=6), timedelta(days=1), timedelta(days=7)])
@pytest.mark.parametrize("local", [True, False])
def test_grid__finds_out_which_clock_the_data_keeps(frequency: timedelta, local: bool) -> None:
    layout = synthetic.layout(frequency=frequency, timezone=AMSTERDAM)
    walls = pd.date_range("2021-01-04", "2022-01-03", freq=frequency, inclusive="left")
    data = (walls.tz_localize(AMSTERDAM) if local else walls.tz_localize("UTC")).tz_convert("UTC").as_unit("us")
    whole = Window(start=data[0].to_pydatetime(), end=(data[-1] + pd.Timedelta(minutes=1)).to_pydatetime())
    assert list(calendar.grid(whole, layout, calendar.beat(data, layout))) == list(data)


def test_cells__an_hour_that_comes_twice_falls_into_one_slot() -> None:
    layout = synthetic.layout(timezone=AMSTERDAM)
    period, slot = calendar.cells(rows("2021-10-31 00:00", "2021-10-31 01:00", "2021-10-31 02:00"), layout)
    assert list(slot) == [2, 2, 3]
    assert len(np.unique(period)) == 1
