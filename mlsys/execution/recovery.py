"""Finds runs that nobody works on: crashed ones whose process is gone, and queued ones left behind. At start, and on a timer."""

import logging
import threading
import time
from datetime import timedelta
from typing import Any

from mlsys import errors
from mlsys.clock import Clock
from mlsys.execution.presence import LOCK_CLASS, Presence
from mlsys.execution.runner import Runner
from mlsys.registry.unit_of_work import Units

_log = logging.getLogger(__name__)
_INTERVAL = 5.0


class Recovery:
    def __init__(self, *, units: Units, runner: Runner, presence: Presence, clock: Clock, max_attempts: int) -> None:
        self._units = units
        self._runner = runner
        self._presence = presence
        self._clock = clock
        self._max_attempts = max_attempts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="recovery", daemon=True)
        self._swept = time.monotonic()

    def start(self) -> None:
        """Sweeps once before it returns, so that runs of a process that died are in good hands when the first request is served."""
        self.sweep(patience=timedelta(0))
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def health(self) -> dict[str, Any]:
        age = time.monotonic() - self._swept
        return {"status": "ok" if self._thread.is_alive() and age < 6 * _INTERVAL else "down", "seconds_since_sweep": round(age, 1)}

    def sweep(self, *, patience: timedelta = timedelta(seconds=_INTERVAL)) -> None:
        """Marks and requeues the crashed, then launches what has been queued for longer than ``patience``."""
        self._presence.assert_held()
        with self._units() as unit:
            for run_id, attempt in unit.runs.orphans(lock_class=LOCK_CLASS):
                if (
                    unit.runs.crash(run_id, attempt=attempt, reason="The process that worked on this run died.")
                    and attempt < self._max_attempts
                ):
                    unit.runs.requeue(run_id, expected="crashed")
                    patience = timedelta(0)
            unit.commit()
        with self._units() as unit:
            waiting = unit.runs.queued(before=self._clock.now() - patience)
        for run_id in waiting:
            self._runner.launch(run_id)

    def _loop(self) -> None:
        while not self._stop.wait(_INTERVAL):
            try:
                self.sweep()
            except errors.Unavailable as error:
                _log.warning("recovery waits: %s", error.message)
            except Exception:
                _log.exception("recovery: sweep failed, will try again")
            else:
                self._swept = time.monotonic()
