"""How often a client asks, and how often it shows what is not valid, counted by the library ``limits`` in this process' memory.

Windows of a minute: a client may use up its share in one burst. Each process counts for itself.
"""

import math
import threading
import time

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from mlsys import errors

_WINDOW = 60.0


class Rates:
    """``per_minute``: requests of one client; ``failed_logins_per_minute``: of one address. 0: any number."""

    def __init__(self, *, per_minute: int, failed_logins_per_minute: int) -> None:
        self._requests = RateLimitItemPerMinute(per_minute, namespace="requests") if per_minute else None
        self._failures = RateLimitItemPerMinute(failed_logins_per_minute, namespace="logins") if failed_logins_per_minute else None
        self._counters: FixedWindowRateLimiter | None = None
        self._emptied_at = 0.0
        self._mutex = threading.Lock()

    def count(self, client: str) -> None:
        """Raises TooMany."""
        if self._requests is not None and not self._limiter().hit(self._requests, client):
            raise self._refusal(self._requests, client, "requests in a minute (server.requests_per_minute)")

    def count_failure(self, address: str) -> None:
        if self._failures is not None:
            self._limiter().hit(self._failures, address)

    def check_failures(self, address: str) -> None:
        """Raises TooMany for an address that has failed too often."""
        if self._failures is not None and not self._limiter().test(self._failures, address):
            raise self._refusal(self._failures, address, "failed logins in a minute (auth.failed_logins_per_minute)")

    def _refusal(self, item: RateLimitItem, client: str, what: str) -> errors.TooMany:
        ends_at = self._limiter().get_window_stats(item, client).reset_time
        return errors.TooMany(f"More than {item.amount} {what}. Try again later.", retry_after=max(1, math.ceil(ends_at - time.time())))

    def _limiter(self) -> FixedWindowRateLimiter:
        """Made when first needed, and forgets all counters once a minute."""
        now = time.monotonic()
        with self._mutex:
            if self._counters is None:
                storage = MemoryStorage()
                storage.timer.join()
                storage.timer = _NoTimer()
                self._counters, self._emptied_at = FixedWindowRateLimiter(storage), now
            elif now - self._emptied_at >= _WINDOW:
                self._counters.storage.reset()
                self._emptied_at = now
            return self._counters


class _NoTimer(threading.Timer):
    """In place of the storage's own, which would start a thread every ten milliseconds to forget what has ended: an eighth of a look-up."""

    def __init__(self) -> None:
        super().__init__(0, lambda: None)

    def is_alive(self) -> bool:
        return True
