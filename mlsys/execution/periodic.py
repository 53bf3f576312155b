"""A thread that does one thing now and then, for as long as it is wanted: what goes wrong once is logged, and tried again."""

import logging
import time
from collections.abc import Callable
from typing import Any

from mlsys import errors
from mlsys.supervision import Supervised

_log = logging.getLogger(__name__)
_SILENT = 25.0  # seconds after its turn that a thread without success counts as down


class Periodic:
    """Calls ``act`` every ``interval`` seconds."""

    def __init__(self, *, name: str, interval: float, act: Callable[[], None]) -> None:
        self._interval = interval
        self._act = act
        self.thread = Supervised(name=name, run=self._loop)
        self._done = time.monotonic()
        self._waits = False  # for the database, which tells of itself

    def start(self) -> None:
        self._done = time.monotonic()
        self.thread.start()

    def stop(self) -> None:
        self.thread.stop()

    def health(self) -> dict[str, Any]:
        """``seconds_since``: the last time that it succeeded."""
        age = time.monotonic() - self._done
        down = not self.thread.alive or (age > self._interval + _SILENT and not self._waits)
        return {"status": "down" if down else "degraded" if self._waits else "ok", "seconds_since": round(age, 1)}

    def _loop(self) -> None:
        while not self.thread.stopping.wait(self._interval):
            try:
                self._act()
            except errors.Unavailable as error:
                self._waits = True
                _log.warning("%s waits: %s", self.thread.name, error.message)
            except Exception:
                _log.exception("%s failed, will try again", self.thread.name)
            else:
                self._done, self._waits = time.monotonic(), False
