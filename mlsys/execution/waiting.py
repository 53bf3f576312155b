"""Waits for a run to end: woken by this process' signals, and by a slow poll for runs that another process ends."""

import threading
import time
from collections import defaultdict
from typing import Any

from mlsys.events import types
from mlsys.events.signals import Signals
from mlsys.events.types import Event
from mlsys.records import Run
from mlsys.registry.unit_of_work import Units

_POLL = 1.0


class RunWaiter:
    """At most ``limit`` callers wait at once, so that waiting never takes all threads of the server; others get their answer at once."""

    def __init__(self, *, units: Units, signals: Signals, limit: int) -> None:
        self._units = units
        self._places = threading.BoundedSemaphore(limit)
        self._lock = threading.Lock()
        self._waiting: dict[str, list[threading.Event]] = defaultdict(list)
        for type in (types.RUN_SUCCEEDED, types.RUN_FAILED, types.RUN_CRASHED, types.RUN_CANCELLED):
            signals.of(type).connect(self._wake, weak=False)

    def wait(self, run_id: str, *, seconds: float) -> Run:
        """The run when it has ended, or as it is after ``seconds``. Raises NotFound."""
        if not self._places.acquire(blocking=False):
            return self._wait(run_id, deadline=0)
        try:
            return self._wait(run_id, deadline=time.monotonic() + seconds)
        finally:
            self._places.release()

    def _wait(self, run_id: str, *, deadline: float) -> Run:
        woken = threading.Event()
        with self._lock:
            self._waiting[run_id].append(woken)
        try:
            while True:
                with self._units() as unit:
                    run = unit.runs.get(run_id)
                left = deadline - time.monotonic()
                if run.finished or left <= 0:
                    return run
                woken.wait(min(left, _POLL))
                woken.clear()
        finally:
            with self._lock:
                self._waiting[run_id].remove(woken)
                if not self._waiting[run_id]:
                    del self._waiting[run_id]

    def _wake(self, sender: Any, *, event: Event) -> None:
        with self._lock:
            for waiting in self._waiting.get(event.data["run_id"], ()):
                waiting.set()
