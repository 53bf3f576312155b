"""Plain dates, instants and windows."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from mlsys import errors
from mlsys.execution import requests
from mlsys.execution.requests import MAX_STEPS, Day

HOUR = timedelta(hours=1)


def span(start: Day, end: Day, zone: str = "UTC", frequency: timedelta = HOUR) -> tuple[str, str]:
    found = requests.window(start, end, timezone=zone, frequency=frequency)
    assert found.start.tzinfo is UTC
    assert found.end.tzinfo is UTC
    return found.start.isoformat()[:19], found.end.isoformat()[:19]


def test_window__a_plain_end_date_is_a_whole_day() -> None:
    assert span(date(2017, 1, 1), date(2017, 12, 31)) == ("2017-01-01T00:00:00", "2018-01-01T00:00:00")
    assert span(date(2017, 1, 1), date(2017, 1, 1)) == ("2017-01-01T00:00:00", "2017-01-02T00:00:00")


def test_window__an_instant_as_end_is_excluded_and_zones_are_turned_to_utc() -> None:
    start = datetime(2017, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert span(start, datetime(2017, 1, 1, 6, tzinfo=UTC)) == ("2017-01-01T00:00:00", "2017-01-01T06:00:00")


def test_window__plain_dates_are_days_of_the_zone_also_where_clocks_change() -> None:
    assert span(date(2021, 3, 28), date(2021, 3, 28), "Europe/Amsterdam") == ("2021-03-27T23:00:00", "2021-03-28T22:00:00")  # 23 hours
    assert span(date(2021, 10, 31), date(2021, 10, 31), "Europe/Amsterdam") == ("2021-10-30T22:00:00", "2021-10-31T23:00:00")  # 25 hours
    assert span(date(2021, 6, 1), date(2021, 6, 1), "Asia/Kolkata") == ("2021-05-31T18:30:00", "2021-06-01T18:30:00")


def test_window__a_midnight_that_a_clock_change_leaves_out_is_the_day_s_first_instant() -> None:
    assert span(date(2018, 11, 4), date(2018, 11, 4), "America/Sao_Paulo") == ("2018-11-04T03:00:00", "2018-11-05T02:00:00")


def test_window__date_and_instant_may_be_mixed() -> None:
    assert span(date(2017, 1, 1), datetime(2017, 1, 1, 1, tzinfo=UTC)) == ("2017-01-01T00:00:00", "2017-01-01T01:00:00")


@pytest.mark.parametrize("end", [date(2016, 12, 31), date(2016, 1, 1), datetime(2017, 1, 1, tzinfo=UTC), datetime(2016, 1, 1, tzinfo=UTC)])
def test_window__an_end_that_is_not_after_the_start_names_end_date(end: Day) -> None:
    with pytest.raises(errors.Invalid) as refused:
        span(date(2017, 1, 1), end)
    assert list(refused.value.fields) == ["end_date"]


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
@pytest.mark.parametrize(
    "day", [date.min, date.max, datetime.min.replace(tzinfo=timezone(HOUR)), datetime.max.replace(tzinfo=timezone(-HOUR)), date(1500, 1, 1)]
)
def test_window__dates_that_no_table_can_hold_are_named(day: Day, zone: str) -> None:
    with pytest.raises(errors.Invalid) as first:
        span(day, date(2017, 1, 1), zone)
    with pytest.raises(errors.Invalid) as last:
        span(date(2017, 1, 1), day, zone)
    with pytest.raises(errors.Invalid) as cut:
        requests.cut(day, "time_travel_date", timezone=zone)
    assert [list(found.value.fields) for found in (first, last, cut)] == [["start_date"], ["end_date"], ["time_travel_date"]]


def test_window__holds_a_bounded_number_of_steps() -> None:
    start = datetime(2000, 1, 1, tzinfo=UTC)
    second = timedelta(seconds=1)
    assert requests.window(start, start + MAX_STEPS * second, timezone="UTC", frequency=second).start == start
    with pytest.raises(errors.Invalid, match="more than 10,000,000 steps"):
        requests.window(start, start + (MAX_STEPS + 1) * second, timezone="UTC", frequency=second)


def test_cut__includes_the_instant_and_the_whole_of_a_plain_date() -> None:
    instant = datetime(2020, 5, 1, 12, tzinfo=UTC)
    assert requests.cut(instant, "data_at", timezone="UTC") == instant
    assert requests.cut(date(2020, 5, 1), "data_at", timezone="UTC") == datetime(2020, 5, 1, 23, 59, 59, 999999, tzinfo=UTC)
    assert requests.cut(date(2020, 5, 1), "data_at", timezone="Europe/Amsterdam") == datetime(2020, 5, 1, 21, 59, 59, 999999, tzinfo=UTC)
