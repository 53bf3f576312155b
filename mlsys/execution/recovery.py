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
from mlsys.registry.unit_of_work import UnitOfWork, Units

_log = logging.getLogger(__name__)
_INTERVAL = 5.0
_REASON = "The process that worked on this run died, or lost it."


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
        self._waits = False  # for the database, which tells of itself

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
        late = "degraded" if self._waits else "ok" if age < 6 * _INTERVAL else "down"
        return {"status": late if self._thread.is_alive() else "down", "seconds_since_sweep": round(age, 1)}

    def sweep(self, *, patience: timedelta = timedelta(seconds=_INTERVAL)) -> None:
        """Marks and requeues the crashed, then launches what has been queued for longer than ``patience``."""
        self._presence.assert_held()
        with self._units() as unit:
            if self._requeue_crashed(unit):
                patience = timedelta(0)
            unit.commit()
        with self._units() as unit:
            waiting = unit.runs.queued(before=self._clock.now() - patience)
        for run_id in waiting:
            self._runner.launch(run_id)

    def _requeue_crashed(self, unit: UnitOfWork) -> bool:
        """Runs of dead processes, and of this one that no thread works on (a claim whose answer was lost). Whether any is tried again."""
        unattended = unit.runs.unattended(lock_class=LOCK_CLASS, owner=self._presence.owner)
        mine = self._runner.pending  # after the query: whatever ended in between has left the state that crash() expects
        again = False
        for run_id, attempt, status in unattended:
            if run_id in mine:
                continue
            if status == "cancelling":  # stopped, if not in the way that was meant
                unit.runs.cancelled(run_id, attempt=attempt)
            if not unit.runs.crash(run_id, attempt=attempt, reason=_REASON) or attempt >= self._max_attempts:
                continue
            again = unit.runs.requeue(run_id, expected="crashed") or again
        return again

    def _loop(self) -> None:
        while not self._stop.wait(_INTERVAL):
            try:
                self.sweep()
            except errors.Unavailable as error:
                self._waits = True
                _log.warning("recovery waits: %s", error.message)
            except Exception:
                _log.exception("recovery: sweep failed, will try again")
            else:
                self._swept, self._waits = time.monotonic(), False
