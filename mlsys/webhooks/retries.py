"""When a delivery that failed is tried again, and what an answer means. Numbers in, numbers out: no clock, no database."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_SPREAD = 0.2  # of a pause, at most added to it: those that failed together do not come back together
_LONGEST_WAIT = timedelta(days=1)
GONE = 410


class Schedule:
    """``pauses`` between attempts, in seconds: one attempt more than there are pauses, then it is given up."""

    def __init__(self, pauses: Sequence[float]) -> None:
        self._pauses = pauses

    @property
    def attempts(self) -> int:
        return len(self._pauses) + 1

    def next(self, tries: int, now: datetime, retry_after: str | None) -> datetime | None:
        """When to try again after the ``tries``-th attempt (1, 2 ..); None: not again. A receiver may ask for more time, a day at most."""
        if tries > len(self._pauses):
            return None
        pause = timedelta(seconds=self._pauses[tries - 1] * (1 + random.uniform(0, _SPREAD)))
        return now + max(pause, min(asked_for(retry_after, now), _LONGEST_WAIT))


def asked_for(retry_after: str | None, now: datetime) -> timedelta:
    """What a Retry-After header asks for: seconds, or an HTTP date. Zero for none, or one that cannot be read (RFC 9110, 10.2.3)."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:12]), 10**9))
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return timedelta(0)
    return max(timedelta(0), (date if date.tzinfo else date.replace(tzinfo=UTC)) - now)


def failure(status: int) -> str | None:
    """What is wrong about an HTTP status; None for success, which is 2xx only."""
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"answered {status}: redirects are not followed; give the webhook the address it leads to"
    return f"answered {status}"
