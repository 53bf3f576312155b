"""Cron expressions in their standard meaning: what is one, and when it fires in a time zone. No schedule, no database here.

cronsim keeps to Debian's cron: with day-of-month and day-of-week both given, either will do; a fixed time that the clocks skip in spring
is made up for right after it, and one that comes twice in autumn counts once. APScheduler's own trigger takes 0 for Monday, wants both days
to match, and loses the skipped time.
"""

import functools
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from mlsys import errors

LONGEST = 200
NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31",
    "month": "1 to 12 or JAN to DEC",
    "day-of-week": "0 to 7 or SUN to SAT (0 and 7 are Sunday)",
}
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)


def check(expression: str) -> str:
    """The expression with single spaces. Raises Invalid({"cron": ...}) that names the field at fault."""
    text = " ".join(expression.split())
    trouble = _trouble(text)
    if trouble:
        raise errors.Invalid({"cron": trouble})
    return text


def times(expression: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """When an expression that check() has passed fires, in UTC, strictly after an instant and without end."""
    found = CronSim(_plain(expression), after.astimezone(_zone(timezone)))
    for local in found:
        instant = local.astimezone(UTC)
        if instant > after:  # local times that come twice make it begin an hour early
            yield instant


@functools.lru_cache(4096)
def first(expression: str, timezone: str, after: datetime, count: int) -> tuple[datetime, ...]:
    """The first ``count`` of times(), remembered: lists of schedules are asked for often."""
    return tuple(islice(times(expression, timezone, after), count))


def _trouble(text: str) -> str | None:
    if text.startswith("@"):
        return None if text.lower() in NAMED else f"{text[:20]!r} is not known; there are {', '.join(NAMED)}."
    parts = text.split(" ")
    if len(parts) != len(FIELDS) or len(text) > LONGEST:
        hint = " Seconds are not among them." if len(parts) == len(FIELDS) + 1 else ""
        return f"Write five fields: {', '.join(FIELDS)}; these are {len(parts) if text else 0}.{hint}"
    try:
        for number, (name, allowed) in enumerate(FIELDS.items()):
            alone = ["*"] * len(FIELDS)
            alone[number] = parts[number]
            trouble = f"{name}: {parts[number]!r} is not one of {allowed}, *, a list (1,2), a range (1-5) or a step (*/5)."
            CronSim(_plain(" ".join(alone)), _FIRST)
        trouble = f"day-of-month, month: {parts[2]!r} never comes in {parts[3]!r}: such a day does not exist."
        next(CronSim(_plain(text), _FIRST))
    except (CronSimError, StopIteration, OverflowError):
        return trouble
    return None


def _plain(text: str) -> str:
    """As cronsim knows it. A week may end on Sunday: ``fri-sun``."""
    return NAMED.get(text.lower(), text.upper().replace("-SUN", "-7"))


def _zone(timezone: str) -> tzinfo:  # cronsim knows UTC by this very object, and is quicker without a zone
    return UTC if timezone == "UTC" else ZoneInfo(timezone)
