"""Executes queued runs on a pool of threads: claim, body, and one transaction that concludes. Knows no kind of job by itself."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import tenacity

from mlsys import errors
from mlsys.execution.presence import Presence
from mlsys.execution.reporter import RunReporter, Stopping
from mlsys.pipelines.base import Reporter
from mlsys.records import Run
from mlsys.registry.unit_of_work import UnitOfWork, Units

_log = logging.getLogger(__name__)

Conclusion = Callable[[UnitOfWork], dict[str, Any]]
"""Writes what a job leads to into the concluding transaction; returns the run's result."""
Handler = Callable[[Run, Reporter], Conclusion]
"""Does the work of one kind of run, outside any transaction."""

_patient = tenacity.retry(
    retry=tenacity.retry_if_exception_type(errors.DatabaseUnavailable),
    wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=5),
    stop=tenacity.stop_after_delay(120),
    reraise=True,
)


class Runner:
    def __init__(self, *, units: Units, handlers: Mapping[str, Handler], presence: Presence, workers: int) -> None:
        self._units = units
        self._handlers = handlers
        self._presence = presence
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="job")
        self._workers = workers
        self._lock = threading.Lock()
        self._pending: dict[str, Future[None]] = {}
        self._closed = False
        self._stopping = threading.Event()

    @property
    def pending(self) -> frozenset[str]:
        """Runs that this process has taken into its pool, waiting or running."""
        with self._lock:
            return frozenset(self._pending)

    def health(self) -> dict[str, Any]:
        pending = len(self.pending)
        return {
            "status": "down" if self._closed else "ok",
            "workers": self._workers,
            "running": min(pending, self._workers),
            "pending": pending,
        }

    def launch(self, run_id: str) -> None:
        """Takes a queued run into the pool; a run that is there already, or a pool that is closing, changes nothing: the queue keeps it."""
        with self._lock:
            if run_id not in self._pending and not self._closed:
                self._pending[run_id] = self._pool.submit(self._execute, run_id)

    def stop(self, *, grace_seconds: float) -> None:
        """Waiting runs stay queued; running ones get their grace, then give themselves back to the queue."""
        with self._lock:
            self._closed = True
            self._pool.shutdown(wait=False, cancel_futures=True)
            running = [future for future in self._pending.values() if not future.cancelled()]
        wait(running, timeout=grace_seconds)
        self._stopping.set()
        wait(running, timeout=10)

    def _execute(self, run_id: str) -> None:
        try:
            run = self._claim(run_id)
            if run is not None:
                self._carry_out(run)
        except errors.DatabaseUnavailable:
            _log.error("run %s: the database stayed away; recovery will find the run", run_id)
        except Exception:
            _log.exception("run %s: could not be carried out; recovery will find the run", run_id)
        finally:
            with self._lock:
                self._pending.pop(run_id, None)

    @_patient
    def _claim(self, run_id: str) -> Run | None:
        self._presence.assert_held()
        with self._units() as unit:
            run = unit.runs.claim(run_id, owner=self._presence.owner)
            unit.commit()
            return run

    def _carry_out(self, run: Run) -> None:
        reporter = RunReporter(units=self._units, run=run, owner=self._presence.owner, stopping=self._stopping)
        started = time.monotonic()
        try:
            conclusion = self._handlers[run.kind](run, reporter)
            self._conclude(run, conclusion)
        except Stopping:
            self._give_back(run)
        except errors.Cancelled:
            self._cancelled(run)
        except errors.DatabaseUnavailable:  # no fault of the work: recovery finds the run, and it is tried again
            raise
        except errors.MlsysError as error:
            reporter.log(str(error), level="error")
            self._fail(run, error.kind, str(error))
        except BaseException as error:  # a component may raise SystemExit: it ends the run, not this thread
            _log.exception("run %s failed unexpectedly", run.id)
            reporter.log(f"Unexpected {type(error).__name__}; the server's log has the details.", level="error")
            self._fail(
                run,
                "internal",
                f"An unexpected {type(error).__name__} stopped the run. It is a fault of mlsys or of a component; see the server's log.",
            )
        _log.info("run %s (%s %s) ended after %.1f s", run.id, run.kind, run.model_name, time.monotonic() - started)

    @_patient
    def _conclude(self, run: Run, conclusion: Conclusion) -> None:
        with self._units() as unit:
            result = conclusion(unit)
            held = unit.runs.finish(run.id, "succeeded", {"result": result}, owner=self._presence.owner, attempt=run.attempt)
            if held:
                unit.commit()
        if not held:
            self._cancelled(run)

    @_patient
    def _fail(self, run: Run, kind: str, message: str) -> None:
        with self._units() as unit:
            error = {"error": {"kind": kind, "message": message}}
            held = unit.runs.finish(run.id, "failed", error, owner=self._presence.owner, attempt=run.attempt)
            unit.commit()
        if not held:
            self._cancelled(run)

    @_patient
    def _cancelled(self, run: Run) -> None:
        """Of a run that this process may not conclude any more: it was cancelled, and ends here; or it is no longer ours."""
        with self._units() as unit:
            held = unit.runs.cancelled(run.id, owner=self._presence.owner, attempt=run.attempt)
            unit.commit()
        if not held:  # concluded already by a commit whose answer was lost, or crashed and given to another
            _log.warning("run %s is not held by this process any more: nothing written", run.id)

    @_patient
    def _give_back(self, run: Run) -> None:
        with self._units() as unit:
            given = unit.runs.requeue(run.id, expected="running", owner=self._presence.owner)
            unit.commit()
        if not given:
            self._cancelled(run)
