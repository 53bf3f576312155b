"""A reading of the database that a scrape may have: at most every few seconds, and never waited for long."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from mlsys import errors

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Reading(Generic[T]):
    """``read`` is called in a thread of its own: a database that hangs delays a scrape by ``patience`` seconds and no more."""

    def __init__(self, read: Callable[[], T], *, fresh_seconds: float = 5.0, patience: float = 2.0) -> None:
        self._read = read
        self._fresh = fresh_seconds
        self._patience = patience
        self._lock = threading.Lock()
        self._reading: threading.Event | None = None
        self._last: T | None = None
        self._at = 0.0

    def get(self) -> T | None:
        """The last reading while it is fresh, else a new one; None when there is none in time."""
        with self._lock:
            if self._at and time.monotonic() - self._at < self._fresh:
                return self._last
            if self._reading is None:
                self._reading = threading.Event()
                threading.Thread(target=self._take, args=(self._reading,), name="metrics", daemon=True).start()
            reading = self._reading
        return self._last if reading.wait(self._patience) else None

    def _take(self, done: threading.Event) -> None:
        found: T | None = None
        try:
            found = self._read()
        except errors.Unavailable as error:
            _log.debug("metrics: %s", error.message)  # health tells of the database
        except Exception:
            _log.exception("the database's figures could not be read")
        with self._lock:
            self._last, self._at, self._reading = found, time.monotonic(), None
        done.set()
