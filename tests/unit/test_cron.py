"""Cron in its standard meaning, over daylight saving, against what the calendar says."""

import time
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsys import errors
from mlsys.scheduling import cron

START = datetime(2026, 1, 1, tzinfo=UTC)
AMSTERDAM = "Europe/Amsterdam"
INSTANTS = st.integers(-10_000_000, 10_000_000).map(lambda minutes: START + timedelta(minutes=minutes))


def first(expression: str, count: int = 3, timezone: str = "UTC", after: datetime = START) -> list[str]:
    return [f"{at:%m-%d %H:%M}" for at in cron.first(cron.check(expression), timezone, after, count)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 3 * * 0", ["01-04 03:00", "01-11 03:00", "01-18 03:00"]),
        ("0 3 * * 7", ["01-04 03:00", "01-11 03:00", "01-18 03:00"]),
        ("0 3 * * sun", ["01-04 03:00", "01-11 03:00", "01-18 03:00"]),
        ("0 0 * * fri-sun", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        ("0 0 * * 5-7", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        ("0 0 13 * 5", ["01-02 00:00", "01-09 00:00", "01-13 00:00"]),
        ("0 0 31 2 5", ["02-06 00:00", "02-13 00:00", "02-20 00:00"]),
        ("0 0 1 jan,MAR *", ["03-01 00:00", "01-01 00:00", "03-01 00:00"]),
        ("5/20 6 * * *", ["01-01 06:05", "01-01 06:25", "01-01 06:45"]),
        ("0-30/15 6,7 * * *", ["01-01 06:00", "01-01 06:15", "01-01 06:30"]),
        ("0\t0  29 2 *", ["02-29 00:00", "02-29 00:00", "02-29 00:00"]),
        ("@daily", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        ("@Midnight", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        ("@hourly", ["01-01 01:00", "01-01 02:00", "01-01 03:00"]),
        ("@weekly", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("@monthly", ["02-01 00:00", "03-01 00:00", "04-01 00:00"]),
        ("@yearly", ["01-01 00:00", "01-01 00:00", "01-01 00:00"]),
    ],
)
def test_expression__means_what_cron_means(expression: str, expected: list[str]) -> None:
    assert first(expression) == expected


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * * *", ["five fields", "these are 6", "Seconds"]),
        ("* * * *", ["five fields", "these are 4"]),
        ("", ["five fields", "these are 0"]),
        ("60 * * * *", ["minute: '60'", "0 to 59"]),
        ("0 24 * * *", ["hour: '24'"]),
        ("0 0 0 * *", ["day-of-month: '0'"]),
        ("0 0 * 13 *", ["month: '13'"]),
        ("0 0 * * 8", ["day-of-week: '8'", "Sunday"]),
        ("*/0 * * * *", ["minute: '*/0'"]),
        ("9-5 * * * *", ["minute: '9-5'"]),
        ("1,,2 * * * *", ["minute"]),
        ("a * * * *", ["minute"]),
        ("0 0 31 2 *", ["day-of-month, month", "never"]),
        ("0 0 30 2 *", ["never"]),
        ("0 0 31 4,6,9,11 *", ["never"]),
        ("@reboot", ["@reboot", "@daily"]),
        ("0 0 * * * " + "1," * 500, ["five fields"]),
        ("1," * 500 + "1 * * * *", ["five fields"]),
    ],
)
def test_expression__at_fault_is_refused_at_once_by_its_field(expression: str, words: list[str]) -> None:
    started = time.process_time()
    with pytest.raises(errors.Invalid) as refused:
        cron.check(expression)
    assert time.process_time() - started < 1
    (text,) = refused.value.fields["cron"]
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("2026-03-28T02:00Z", ["03-29 01:00", "03-30 00:30"]),  # 02:30 does not exist on the 29th: made up for at 03:00
        ("2026-10-24T02:00Z", ["10-25 00:30", "10-26 01:30"]),  # 02:30 comes twice on the 25th: once
        ("2026-10-25T00:30Z", ["10-26 01:30", "10-27 01:30"]),
        ("2026-10-25T01:15Z", ["10-26 01:30", "10-27 01:30"]),  # between the two
    ],
)
def test_times__of_half_past_two_come_once_where_the_clocks_change(after: str, expected: list[str]) -> None:
    assert first("30 2 * * *", 2, AMSTERDAM, datetime.fromisoformat(after)) == expected


@given(
    instant=INSTANTS,
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    timezone=st.sampled_from(["UTC", AMSTERDAM, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_times__of_a_daily_time_come_on_every_day_of_the_calendar_once(instant: datetime, minute: int, hour: int, timezone: str) -> None:
    zone = ZoneInfo(timezone)
    times = list(islice(cron.times(f"{minute} {hour} * * *", timezone, instant), 8))
    assert instant < times[0]
    assert times == sorted(set(times))
    days = [at.astimezone(zone).date() for at in times]
    assert [(b - a).days for a, b in pairwise(days)] == [1] * 7
    for at in times:
        local = at.astimezone(zone)
        skipped = local.utcoffset() != (local - timedelta(hours=3)).replace(tzinfo=zone).utcoffset()
        assert (local.hour, local.minute) == (hour, minute) or skipped


@given(instant=INSTANTS, step=st.integers(1, 59))
def test_times__go_on_from_any_of_them_as_they_would_have(instant: datetime, step: int) -> None:
    """A scheduler keeps only the last time: what follows must not depend on where it began."""
    for expression in (f"*/{step} * * * *", f"{step} 1,2,3 * * *", "30 2 * * *", "0 */2 * * *"):
        times = list(islice(cron.times(expression, AMSTERDAM, instant), 6))
        for number, at in enumerate(times[:-1]):
            assert next(cron.times(expression, AMSTERDAM, at)) == times[number + 1]
