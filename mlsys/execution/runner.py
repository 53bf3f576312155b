"""Executes queued runs on a pool of threads: claim, body, and one transaction that concludes. Knows no kind of job by itself."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

from mlsys import errors
from mlsys.crashing import crash_point
from mlsys.execution import about, timers
from mlsys.execution.claims import Claims, Taken
from mlsys.execution.limits import Limits
from mlsys.execution.patience import patient
from mlsys.execution.presence import Presence
from mlsys.execution.reporter import RunReporter, Stopping
from mlsys.pipelines.base import Reporter
from mlsys.records import Json, Run
from mlsys.registry.unit_of_work import UnitOfWork, Units
from mlsys.tracing import Steps, Tracer

_log = logging.getLogger(__name__)

Conclusion = Callable[[UnitOfWork], dict[str, Any]]
"""Writes what a job leads to into the concluding transaction; returns the run's result."""
Handler = Callable[[Run, Reporter], Conclusion]
"""Does the work of one kind of run, outside any transaction."""


class Runner:
    """Threads that each take what comes first in the queue, until there is nothing. The queue is the database: here is only who is busy."""

    def __init__(
        self,
        *,
        units: Units,
        handlers: Mapping[str, Handler],
        presence: Presence,
        limits: Limits,
        tracer: Tracer,
        ended: Callable[[str, float], None],
    ) -> None:
        """``ended`` is told of each attempt: its kind, and the seconds it took."""
        self._units = units
        self._handlers = handlers
        self._presence = presence
        self._limits = limits
        self._ended = ended
        self._tracer = tracer
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="job")
        self._claims = Claims(presence=presence, limits=limits)
        self._lock = threading.Lock()
        self._futures: set[Future[None]] = set()
        self._busy = 0
        self._closed = False
        self._stopping = threading.Event()

    @property
    def pending(self) -> frozenset[str]:
        """Runs that this process works on."""
        return self._claims.in_hand

    def health(self) -> dict[str, Any]:
        """``running`` here; ``queued`` and the oldest for all processes on this database.

        ``overtime``: runs that have ended by a timeout, while their threads have not come to a step at which they notice: places that are
        still taken. Where all are, nothing is begun.
        """
        found: Mapping[str, Any] = {}
        with suppress(errors.DatabaseUnavailable), self._units() as unit:  # which tells of itself
            found = unit.runs.oldest()
        overtime = self._claims.overtime
        running = {"workers": self._limits.workers, "running": len(self.pending) - overtime, "overtime": overtime}
        status = "down" if self._closed else "degraded" if overtime >= self._limits.workers else "ok"
        return {"status": status, "stopping": self._closed, **running, **found}

    def take_all(self) -> None:
        """Whatever waits in the queue is taken from now on, not only what has been launched here."""
        self._claims.take_all()

    def launch(self, run_id: str) -> None:
        """Has a queued run begun as soon as it is its turn; when the pool is closing, the queue keeps it."""
        self._claims.launch(run_id)
        self._begin()

    def wake(self) -> None:
        """Somebody who has nothing to do looks at the queue, and calls another when there is something."""
        self._claims.call()
        self._begin()

    def _begin(self) -> None:
        with self._lock:
            if not self._closed and self._busy < self._limits.workers:
                self._busy += 1
                future = self._pool.submit(self._work)
                self._futures.add(future)
                future.add_done_callback(self._futures.discard)

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
            run = self._next()
            while run is not None:
                run = self._execute(run) or self._next()
        except BaseException:  # its place is free for the next call all the same
            with self._lock:
                self._busy -= 1
            raise

    def _next(self) -> Run | None:
        """None when nothing is left that this process may take. A call that comes while the queue is looked at has it looked at again."""
        while True:
            run, again = None, not self._closed
            try:
                run = self._claim() if again and self._claims.hopeful else None
            except errors.DatabaseUnavailable:
                _log.error("the database stayed away; recovery will look at the queue")
                again = False
            except Exception:
                _log.exception("the queue could not be looked at; recovery will try again")
                again = False
            if run is not None:
                if self._claims.hopeful:
                    self._begin()
                return run
            with self._lock:
                if not (again and self._claims.hopeful):
                    self._busy -= 1
                    return None

    def _claim(self) -> Run | None:
        while True:
            try:
                return self._claimed()
            except Taken:  # settled by now
                continue

    @patient
    def _claimed(self) -> Run | None:
        self._presence.assert_held()
        with self._units() as unit, self._claims.next(unit) as run:
            if run is not None:
                unit.commit()
            return run

    def _execute(self, run: Run) -> Run | None:
        """The run that follows, if its claim went with this one's end."""
        with about.told(run, self._tracer):
            return self._attempt(run)

    def _attempt(self, run: Run) -> Run | None:
        try:
            crash_point("claimed")
            with timers.within(self._limits.timeout(run), partial(self._expire, run)):
                return self._carry_out(run)
        except errors.DatabaseUnavailable:
            _log.error("run %s: the database stayed away; recovery will find the run", run.id)
        except Exception:
            _log.exception("run %s: could not be carried out; recovery will find the run", run.id)
        finally:
            self._claims.done(run)
        return None

    def _expire(self, run: Run, seconds: float) -> None:
        """In a thread of the timer. That of the run notices at its next step, as one does whose run was taken away."""
        error = errors.Timeout(f"The run took longer than {seconds:g} s (execution.timeouts).")
        try:
            self._fail(run, error.kind, error.message)
            self._claims.late(run)
        except errors.DatabaseUnavailable:
            _log.error("run %s: the database stayed away; it goes on past its time", run.id)

    def _carry_out(self, run: Run) -> Run | None:
        following = None
        steps = Steps(self._tracer)
        reporter = RunReporter(units=self._units, run=run, owner=self._presence.owner, stopping=self._stopping, steps=steps)
        started = time.monotonic()
        try:
            with steps:
                conclusion = self._handler(run)(run, reporter)
            following = self._conclude(run, conclusion)
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
            text = f"An unexpected {type(error).__name__} stopped the run. It is a fault of mlsys or of a component; see the server's log."
            self._fail(run, "internal", text)
        took = time.monotonic() - started
        self._ended(run.kind, took)
        _log.info("run %s (%s %s) ended after %.1f s", run.id, run.kind, run.model_name, took)
        return following

    def _handler(self, run: Run) -> Handler:
        try:
            return self._handlers[run.kind]
        except KeyError:
            known = ", ".join(sorted(self._handlers))
            raise errors.ConfigError(f"This mlsys does no runs of kind {run.kind!r}; it does {known}. A newer one may.") from None

    def _conclude(self, run: Run, conclusion: Conclusion) -> Run | None:
        try:
            return self._concluded(run, conclusion, follow=not self._closed and self._claims.hopeful)
        except Taken:
            return self._concluded(run, conclusion, follow=False)

    @patient
    def _concluded(self, run: Run, conclusion: Conclusion, *, follow: bool) -> Run | None:
        """The run that follows, where one is to and does: claimed by the same commit, since commits are what a short run costs."""
        if follow:
            self._presence.assert_held()
        with self._units() as unit:
            result = conclusion(unit)
            if unit.runs.finish(run.id, "succeeded", {"result": result}, owner=self._presence.owner, attempt=run.attempt):
                with self._claims.next(unit, durable=True) if follow else nullcontext() as following:
                    crash_point("before commit")
                    unit.commit()
                    crash_point("after commit")
                    return following
        self._cancelled(run)
        return None

    def _try_again(self, run: Run, reporter: RunReporter, error: errors.MlsysError) -> None:
        reporter.log(str(error), level="error")
        if run.attempt >= self._limits.max_attempts:
            self._fail(run, error.kind, str(error))
            return
        delay = self._limits.delay(run.attempt)
        self._give_back(run, delay=delay, detail={"error": {"kind": error.kind, "message": str(error)}})
        timers.after(delay + 0.05, self.wake)

    @patient
    def _crashed(self, run: Run, error: errors.Died) -> None:
        self._tracer.fail("crashed")
        delay, final = self._limits.delay(run.attempt), run.attempt >= self._limits.max_attempts
        with self._units() as unit:
            held = unit.runs.crash(run.id, attempt=run.attempt, reason=error.message, final=final)
            again = held and not final and unit.runs.requeue(run.id, expected="crashed", delay=delay)
            unit.commit()
        if again:
            timers.after(delay + 0.05, self.wake)
        elif not held:
            self._cancelled(run)

    @patient
    def _fail(self, run: Run, kind: str, message: str) -> None:
        self._tracer.fail(kind)
        with self._units() as unit:
            error = {"error": {"kind": kind, "message": message}}
            held = unit.runs.finish(run.id, "failed", error, owner=self._presence.owner, attempt=run.attempt)
            unit.commit()
        if not held:
            self._cancelled(run)

    @patient
    def _cancelled(self, run: Run) -> None:
        """Of a run that this process may not conclude any more: it was cancelled, and ends here; or it is no longer ours."""
        with self._units() as unit:
            held = unit.runs.cancelled(run.id, owner=self._presence.owner, attempt=run.attempt)
            unit.commit()
        if not held:  # concluded already by a commit whose answer was lost, timed out, or crashed and given to another
            _log.warning("run %s is not held by this process any more: nothing written", run.id)

    @patient
    def _give_back(self, run: Run, *, delay: float = 0, detail: Json | None = None) -> None:
        with self._units() as unit:
            given = unit.runs.requeue(
                run.id, expected="running", owner=self._presence.owner, attempt=run.attempt, delay=delay, detail=detail
            )
            unit.commit()
        if not given:
            self._cancelled(run)
