"""A thread that is woken when there is something to do, and looks by itself as well. What it does is told by who owns it."""

import logging
import threading
import time
from collections.abc import Callable

from structlog import contextvars

from mlsys import errors

_log = logging.getLogger(__name__)
_PATIENCE = 0.5


class Worker:
    """Calls ``round`` when woken and at least every ``every`` seconds, again at once while it returns True. An exception ends no thread."""

    def __init__(self, *, name: str, round: Callable[[], bool], every: float) -> None:
        self._name = name
        self._round = round
        self._every = every
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._done = time.monotonic()

    def start(self) -> None:
        self._stopping.clear()
        self._done = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wake(self) -> None:
        self._woken.set()

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def idle_seconds(self) -> float:
        """Since a round last ended well."""
        return time.monotonic() - self._done

    def _run(self) -> None:
        contextvars.bind_contextvars(action=self._name)
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                more = self._round()
                self._done = time.monotonic()
            except errors.Unavailable as error:
                _log.debug("%s waits: %s", self._name, error.message)  # health tells of the database
                more = self._stopping.wait(_PATIENCE)
            except Exception:
                _log.exception("%s failed; it will try again", self._name)
                more = self._stopping.wait(_PATIENCE)
            if not more:
                self._woken.wait(self._every)
