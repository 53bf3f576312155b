"""A thread that does one thing now and then, for as long as it is wanted: what goes wrong once is logged, and tried again."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from mlsys import errors

_log = logging.getLogger(__name__)
_SILENT = 25.0  # seconds after its turn that a thread without success counts as down


class Periodic:
    """Calls ``act`` every ``interval`` seconds. Somebody else has to ``revive`` a thread that died: two of these watch each other."""

    def __init__(self, *, name: str, interval: float, act: Callable[[], None]) -> None:
        self._name = name
        self._interval = interval
        self._act = act
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._done = time.monotonic()
        self._waits = False  # for the database, which tells of itself

    def start(self) -> None:
        self._stop.clear()
        self._done = time.monotonic()
        self.revive()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()

    def revive(self) -> None:
        """Starts the thread, unless it lives or is to stop."""
        if not self._stop.is_set() and (self._thread is None or not self._thread.is_alive()):
            if self._thread is not None:
                _log.error("the thread %s died; it is started again", self._name)
            self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
            self._thread.start()

    def health(self) -> dict[str, Any]:
        """``seconds_since``: the last time that it succeeded."""
        age = time.monotonic() - self._done
        lives = self._thread is not None and self._thread.is_alive()
        down = not lives or (age > self._interval + _SILENT and not self._waits)
        return {"status": "down" if down else "degraded" if self._waits else "ok", "seconds_since": round(age, 1)}

    def _loop(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._act()
            except errors.Unavailable as error:
                self._waits = True
                _log.warning("%s waits: %s", self._name, error.message)
            except Exception:
                _log.exception("%s failed, will try again", self._name)
            else:
                self._done, self._waits = time.monotonic(), False
