"""A thread that is woken when there is something to do, and looks by itself as well. What it does is told by who owns it."""

import logging
import threading
import time
from collections.abc import Callable

from mlsys import errors
from mlsys.supervision import Supervised

_log = logging.getLogger(__name__)
_PATIENCE = 0.5


class Worker:
    """Calls ``round`` when woken and at least every ``every`` seconds, again at once while it returns True. An exception ends no thread.

    ``apart``: seconds that two rounds keep apart, so that what comes together is one occasion.
    """

    def __init__(self, *, name: str, round: Callable[[], bool], every: float, apart: float = 0.0) -> None:
        self._round = round
        self._every = every
        self._apart = apart
        self._woken = threading.Event()
        self._done = time.monotonic()
        self.thread = Supervised(name=name, run=self._run)

    def start(self) -> None:
        self._done = time.monotonic()
        self.thread.start()

    def stop(self) -> None:
        self.thread.dismiss()
        self._woken.set()
        self.thread.join()

    def wake(self) -> None:
        self._woken.set()

    @property
    def stopping(self) -> bool:
        return self.thread.stopping.is_set()

    @property
    def idle_seconds(self) -> float:
        """Since a round last ended well."""
        return time.monotonic() - self._done

    def _run(self) -> None:
        while not self.stopping:
            self._woken.clear()
            if self._again() or self.stopping:  # looked at after the clear: a stop in between has not woken anybody
                continue
            self.thread.stopping.wait(self._apart)
            self._woken.wait(self._every)

    def _again(self) -> bool:
        """One round; whether another shall follow at once."""
        try:
            more = self._round()
            self._done = time.monotonic()
        except errors.Unavailable as error:
            _log.debug("%s waits: %s", self.thread.name, error.message)  # health tells of the database
            more = self.thread.stopping.wait(_PATIENCE)
        except Exception:
            _log.exception("%s failed; it will try again", self.thread.name)
            more = self.thread.stopping.wait(_PATIENCE)
        return more
