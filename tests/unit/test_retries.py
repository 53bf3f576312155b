"""When a delivery is tried again: the schedule, its spread, and what a receiver may ask for."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from mlsys.webhooks.retries import Schedule, asked_for, failure

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def test_schedule__has_one_attempt_more_than_pauses_and_spreads_each() -> None:
    schedule = Schedule([5, 300])
    assert schedule.attempts == 3
    for tries, pause in ((1, 5), (2, 300)):
        found = {schedule.next(tries, NOW, None) for _ in range(50)}
        pauses = [(each - NOW).total_seconds() for each in found if each is not None]
        assert len(pauses) > 10, "all the same: those that failed together would come back together"
        assert all(pause <= each <= 1.2 * pause for each in pauses)
    assert schedule.next(3, NOW, None) is None
    assert schedule.next(3, NOW, "60") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        (format_datetime(NOW + timedelta(minutes=3), usegmt=True), 180),
        ("Thu, 01 Jan 2026 12:01:00 -0000", 60),
        (format_datetime(NOW - timedelta(hours=1), usegmt=True), 0),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("", 0),
        (None, 0),
        ("٣", 0),
    ],
)
def test_retry_after__is_seconds_or_a_date(text: str | None, seconds: int) -> None:
    assert asked_for(text, NOW) == timedelta(seconds=seconds)


def test_schedule__gives_more_time_when_asked_a_day_at_most_and_never_less() -> None:
    schedule = Schedule([5, 300])
    asked = schedule.next(1, NOW, "3600")
    assert asked == NOW + timedelta(hours=1)
    for text in ("9" * 400, "864000", format_datetime(NOW + 30 * DAY, usegmt=True)):
        assert schedule.next(1, NOW, text) == NOW + DAY
    sooner = schedule.next(2, NOW, "1")
    assert sooner is not None
    assert sooner >= NOW + timedelta(seconds=300)


def test_failure__is_all_but_2xx() -> None:
    assert [status for status in range(100, 600) if failure(status) is None] == list(range(200, 300))
