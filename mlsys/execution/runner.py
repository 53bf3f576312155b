"""Executes queued runs on a pool of threads: claim, body, and one transaction that concludes. Knows no kind of job by itself."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any

import tenacity
from structlog import contextvars

from mlsys import errors
from mlsys.crashing import crash_point
from mlsys.execution.limits import Limits
from mlsys.execution.presence import Presence
from mlsys.execution.reporter import RunReporter, Stopping
from mlsys.pipelines.base import Reporter
from mlsys.records import Json, Run
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
    """Threads that each take what comes first in the queue, until there is nothing. The queue is the database: here is only who is busy."""

    def __init__(
        self,
        *,
        units: Units,
        handlers: Mapping[str, Handler],
        presence: Presence,
        limits: Limits,
        ended: Callable[[str, float], None] = lambda kind, seconds: None,
    ) -> None:
        """``ended`` is told of each attempt: its kind, and the seconds it took."""
        self._units = units
        self._handlers = handlers
        self._presence = presence
        self._limits = limits
        self._ended = ended
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="job")
        self._lock = threading.Lock()
        self._futures: set[Future[None]] = set()
        self._busy = 0
        self._running: set[str] = set()
        self._overtime: set[str] = set()
        self._launched: set[str] | None = set()
        self._calls = 0
        self._closed = False
        self._stopping = threading.Event()

    @property
    def pending(self) -> frozenset[str]:
        """Runs that this process works on."""
        with self._lock:
            return frozenset(self._running)

    def health(self) -> dict[str, Any]:
        """``running`` here; ``queued`` and the oldest for all processes on this database.

        ``overtime``: runs that have ended by a timeout, while their threads have not come to a step at which they notice: places that are
        still taken. Where all are, nothing is begun.
        """
        found: Mapping[str, Any] = {}
        with suppress(errors.DatabaseUnavailable), self._units() as unit:  # which tells of itself
            found = unit.runs.oldest()
        with self._lock:
            overtime = len(self._overtime)
            running = {"workers": self._limits.workers, "running": len(self._running) - overtime, "overtime": overtime}
        status = "down" if self._closed else "degraded" if overtime >= self._limits.workers else "ok"
        return {"status": status, "stopping": self._closed, **running, **found}

    def take_all(self) -> None:
        """Whatever waits in the queue is taken from now on, not only what has been launched here."""
        self._launched = None

    def launch(self, run_id: str) -> None:
        """Has a queued run begun as soon as it is its turn; when the pool is closing, the queue keeps it."""
        with self._lock:
            if self._launched is not None:
                self._launched.add(run_id)
        self.wake()

    def wake(self, *, everybody: bool = False) -> None:
        """Somebody who has nothing to do looks at the queue, or all of them."""
        with self._lock:
            self._calls += 1
            while not self._closed and self._busy < self._limits.workers:
                self._busy += 1
                future = self._pool.submit(self._work)
                self._futures.add(future)
                future.add_done_callback(self._futures.discard)
                if not everybody:
                    return

    def close(self) -> None:
        """Takes no more runs: what waits stays queued."""
        with self._lock:
            self._closed = True

    def stop(self, *, grace_seconds: float) -> None:
        """Running runs get their grace, then give themselves back to the queue."""
        self.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        busy = list(self._futures)
        wait(busy, timeout=grace_seconds)
        self._stopping.set()
        wait(busy, timeout=10)

    def _work(self) -> None:
        try:
            while (run := self._next()) is not None:
                self._execute(run)
        except BaseException:  # its place is free for the next call all the same
            with self._lock:
                self._busy -= 1
            raise

    def _next(self) -> Run | None:
        """None when nothing is left that this process may take. A call that comes while the queue is looked at has it looked at again."""
        while True:
            calls, run, again = self._calls, None, not self._closed
            try:
                run = self._claim() if again else None
            except errors.DatabaseUnavailable:
                _log.error("the database stayed away; recovery will look at the queue")
                again = False
            except Exception:
                _log.exception("the queue could not be looked at; recovery will try again")
                again = False
            if run is not None:
                return run
            with self._lock:
                if not again or self._calls == calls:
                    self._busy -= 1
                    return None

    def _claim(self) -> Run | None:
        while True:
            try:
                return self._claimed()
            except errors.Conflict:  # settled by now
                continue

    @_patient
    def _claimed(self) -> Run | None:
        self._presence.assert_held()
        with self._lock:
            among, apart = self._launched and list(self._launched), list(self._running)
        if among == set():
            return None
        run = None
        try:
            with self._units() as unit:
                run = unit.runs.claim(owner=self._presence.owner, among=among, apart=apart, alone=self._limits.alone)
                if run is not None:
                    with self._lock:
                        self._running.add(run.id)
                    unit.commit()
                return run
        except BaseException:
            self._done(run)
            raise

    def _done(self, run: Run | None) -> None:
        if run is not None:
            with self._lock:
                self._running.discard(run.id)
                self._overtime.discard(run.id)

    def _execute(self, run: Run) -> None:
        with contextvars.bound_contextvars(**_about(run)):
            self._attempt(run)

    def _attempt(self, run: Run) -> None:
        try:
            crash_point("claimed")
            with self._timed(run):
                self._carry_out(run)
        except errors.DatabaseUnavailable:
            _log.error("run %s: the database stayed away; recovery will find the run", run.id)
        except Exception:
            _log.exception("run %s: could not be carried out; recovery will find the run", run.id)
        finally:
            self._done(run)

    @contextmanager
    def _timed(self, run: Run) -> Iterator[None]:
        """Ends a run that takes too long. Its thread notices at its next step, as one does whose run was taken away."""
        seconds = self._limits.timeout(run)
        if seconds is None:
            yield
            return
        text = f"The run took longer than {seconds:g} s (execution.timeouts)."
        timer = threading.Timer(seconds, self._expire, (run, errors.Timeout(text)))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _expire(self, run: Run, error: errors.Timeout) -> None:
        """In a thread of the timer."""
        contextvars.bind_contextvars(**_about(run))
        try:
            self._fail(run, error.kind, error.message)
            with self._lock:
                self._overtime |= {run.id} & self._running
        except errors.DatabaseUnavailable:
            _log.error("run %s: the database stayed away; it goes on past its time", run.id)

    def _carry_out(self, run: Run) -> None:
        reporter = RunReporter(units=self._units, run=run, owner=self._presence.owner, stopping=self._stopping)
        started = time.monotonic()
        try:
            conclusion = self._handler(run)(run, reporter)
            self._conclude(run, conclusion)
        except Stopping:
            self._give_back(run)
        except errors.Cancelled:
            self._cancelled(run)
        except errors.Died as error:
            self._crashed(run, error)
        except errors.Unavailable as error:  # no fault of the work: it may pass
            self._try_again(run, reporter, error)
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
        took = time.monotonic() - started
        self._ended(run.kind, took)
        _log.info("run %s (%s %s) ended after %.1f s", run.id, run.kind, run.model_name, took)

    def _handler(self, run: Run) -> Handler:
        try:
            return self._handlers[run.kind]
        except KeyError:
            known = ", ".join(sorted(self._handlers))
            raise errors.ConfigError(f"This mlsys does no runs of kind {run.kind!r}; it does {known}. A newer one may.") from None

    @_patient
    def _conclude(self, run: Run, conclusion: Conclusion) -> None:
        with self._units() as unit:
            result = conclusion(unit)
            held = unit.runs.finish(run.id, "succeeded", {"result": result}, owner=self._presence.owner, attempt=run.attempt)
            if held:
                crash_point("before commit")
                unit.commit()
                crash_point("after commit")
        if not held:
            self._cancelled(run)

    def _try_again(self, run: Run, reporter: RunReporter, error: errors.MlsysError) -> None:
        reporter.log(str(error), level="error")
        if run.attempt >= self._limits.max_attempts:
            self._fail(run, error.kind, str(error))
            return
        delay = self._limits.delay(run.attempt)
        self._give_back(run, delay=delay, detail={"error": {"kind": error.kind, "message": str(error)}})
        self._look_in(delay)

    @_patient
    def _crashed(self, run: Run, error: errors.Died) -> None:
        delay, final = self._limits.delay(run.attempt), run.attempt >= self._limits.max_attempts
        with self._units() as unit:
            held = unit.runs.crash(run.id, attempt=run.attempt, reason=error.message, final=final)
            again = held and not final and unit.runs.requeue(run.id, expected="crashed", delay=delay)
            unit.commit()
        if again:
            self._look_in(delay)
        elif not held:
            self._cancelled(run)

    def _look_in(self, seconds: float) -> None:
        timer = threading.Timer(seconds + 0.05, self.wake)
        timer.daemon = True
        timer.start()

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
        if not held:  # concluded already by a commit whose answer was lost, timed out, or crashed and given to another
            _log.warning("run %s is not held by this process any more: nothing written", run.id)

    @_patient
    def _give_back(self, run: Run, *, delay: float = 0, detail: Json | None = None) -> None:
        with self._units() as unit:
            given = unit.runs.requeue(
                run.id, expected="running", owner=self._presence.owner, attempt=run.attempt, delay=delay, detail=detail
            )
            unit.commit()
        if not given:
            self._cancelled(run)


def _about(run: Run) -> dict[str, Any]:
    """What each of its log lines tells."""
    told = {"run_id": run.id, "action": run.kind, "model_name": run.model_name, "attempt": run.attempt}
    return told | ({"schedule": run.trigger["schedule"]} if run.trigger["type"] == "schedule" else {})
