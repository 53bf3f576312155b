"""Time as an argument: whoever needs "now" takes a Clock. Nothing else in mlsys may call datetime.now()."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def rfc3339(instant: datetime) -> str:
    """``2017-01-01T00:00:00Z``, with microseconds where there are any."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
