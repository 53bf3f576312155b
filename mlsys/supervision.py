"""Threads that shall run for as long as their owners want them: one that died is told of by health, and started anew.

A thread of Python dies of what nobody caught: a SystemExit out of a plugin, an exception in the code that was to handle one. The supervisor
has no thread of its own: two that watch each other (the leader's and the scheduler's) ask it to look, about once a second each.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from structlog import contextvars

_log = logging.getLogger(__name__)
_RECENT_SECONDS = 60.0  # so long a death is told of, for those who ask seldom, and so that one that dies again and again looks ill


class Mortal(Protocol):
    """What a supervisor looks after."""

    @property
    def name(self) -> str: ...
    @property
    def dead(self) -> bool:
        """It should run, and does not."""
        ...

    def revive(self) -> bool:
        """Starts it anew if it is dead; whether it was."""
        ...


class Supervised:
    """A thread. ``run`` returns soon after ``stopping`` is set; whatever it raises is logged, and ends the thread."""

    def __init__(self, *, name: str, run: Callable[[], None]) -> None:
        self.name = name
        self.stopping = threading.Event()
        self._run = run
        self._lock = threading.Lock()
        self.wanted = False
        """Between start() and the end of it."""
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def dead(self) -> bool:
        return self.wanted and not self.alive

    def start(self) -> None:
        with self._lock:
            self.wanted = True
            self.stopping.clear()
            self._begin()

    def dismiss(self) -> None:
        """From now on it may end. Its owner wakes it, where it waits for something else than ``stopping``."""
        with self._lock:
            self.wanted = False
            self.stopping.set()

    def join(self, timeout: float | None = None) -> None:
        """Until it has ended, or for so long."""
        if self.alive and self._thread is not None:
            self._thread.join(timeout)

    def stop(self) -> None:
        self.dismiss()
        self.join()

    def revive(self) -> bool:
        with self._lock:
            if not self.dead:
                return False
            self._begin()
            return True

    def _begin(self) -> None:
        thread = threading.Thread(target=self._guarded, name=self.name, daemon=True)
        thread.start()
        self._thread = thread

    def _guarded(self) -> None:
        contextvars.bind_contextvars(action=self.name)
        try:
            self._run()
        except BaseException:
            _log.exception("the thread %s died", self.name)


class Supervisor:
    def __init__(self) -> None:
        self._watched: list[Mortal] = []
        self._restarts: Counter[str] = Counter()
        self._last = 0.0

    def watch(self, *threads: Mortal) -> None:
        self._watched += threads

    def look(self) -> None:
        """Starts anew whoever has died. Whoever cannot be started is tried at the next look."""
        for one in self._watched:
            try:
                if one.revive():
                    self._restarts[one.name] += 1
                    self._last = time.monotonic()
                    _log.error("the thread %s had died; it is started again", one.name)
            except Exception:
                _log.exception("the thread %s died and cannot be started", one.name)

    def health(self) -> dict[str, Any]:
        """``dead``: names of threads that should run now; ``restarts``: how often each has been started anew."""
        dead = [one.name for one in self._watched if one.dead]
        recent = bool(self._restarts) and time.monotonic() - self._last < _RECENT_SECONDS
        return {"status": "down" if dead else "degraded" if recent else "ok", "dead": dead, "restarts": dict(self._restarts)}
