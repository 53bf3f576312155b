"""How a running job tells of itself: progress (at most twice a second) and log lines. A database that is away for a while stops no job."""

import logging
import threading
import time
from typing import Literal

from mlsys import errors
from mlsys.crashing import crash_point
from mlsys.records import Run
from mlsys.registry.unit_of_work import Units
from mlsys.tracing import Steps

_log = logging.getLogger(__name__)
_INTERVAL = 0.5
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Stopping(BaseException):
    """The process is going down: the job gives its run back. Not an Exception, so that no component swallows it."""


class RunReporter:
    def __init__(self, *, units: Units, run: Run, owner: int, stopping: threading.Event, steps: Steps) -> None:
        self._units = units
        self._run = run
        self._owner = owner
        self._stopping = stopping
        self._steps = steps
        self._last: tuple[str, float] = ("", 0.0)

    def progress(self, step: str, done: int, total: int) -> None:
        if self._stopping.is_set():
            raise Stopping
        crash_point(f"{step} {'done' if done >= total else 'begun' if done == 0 else 'on'}")
        before, at = self._last
        if step == before and done < total and time.monotonic() - at < _INTERVAL:
            return
        self._last = (step, time.monotonic())
        if step != before:
            self._steps.enter(step)
        try:
            with self._units() as unit:
                held = unit.runs.progress(
                    self._run.id, {"step": step, "done": done, "total": total}, owner=self._owner, attempt=self._run.attempt
                )
                unit.commit()
        except errors.DatabaseUnavailable:
            _log.warning("run %s: progress not stored, the database is away", self._run.id)
            return
        if not held:
            raise errors.Cancelled("The run is to stop, or was taken away from this process.")

    def log(self, message: str, *, level: Literal["info", "warning", "error"] = "info") -> None:
        _log.log(_LEVELS[level], "run %s: %s", self._run.id, message)
        try:
            with self._units() as unit:
                unit.runs.log(self._run.id, attempt=self._run.attempt, level=level, message=message)
                unit.commit()
        except errors.DatabaseUnavailable:
            _log.warning("run %s: log line not stored, the database is away", self._run.id)
