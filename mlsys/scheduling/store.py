"""APScheduler's job store over our own tables. A round of the scheduler is one transaction here, or nothing at all.

APScheduler asks what is due, submits each job, moves each on, and asks when to come again. It swallows what an executor raises, and dies of
what update_job raises; so in between things are only noted, and get_next_run_time() writes them all at once: runs, events, next times. What
fails is forgotten and comes again in half a second. Jobs are made from rows each time, so nothing is unpickled and no job is ever removed.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.job import Job
from apscheduler.jobstores.base import BaseJobStore
from apscheduler.triggers.base import BaseTrigger
from structlog import contextvars

from mlsys import errors
from mlsys.clock import Clock, SystemClock
from mlsys.crashing import crash_point
from mlsys.execution.leader import Leader
from mlsys.registry.unit_of_work import UnitOfWork, Units
from mlsys.scheduling import firing
from mlsys.scheduling.firing import Due, Firings

_log = logging.getLogger(__name__)

LONGEST_WAIT = timedelta(seconds=1)  # a schedule made by another process must not wait for ours
RETRY = timedelta(seconds=0.5)
ROUND = 5000  # firings in one transaction


class _Following(BaseTrigger):  # type: ignore[misc]
    def __init__(self, due: Due) -> None:
        self._due = due

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        return self._due.following


class _DueJob(Job):  # type: ignore[misc]
    """A schedule that is due, for one round. Its times are by our clock, not by the one that APScheduler reads."""

    def __init__(self, scheduler: Any, due: Due) -> None:
        self._scheduler = scheduler
        self._jobstore_alias = "default"
        self.id = self.name = due.state.schedule.name
        self.trigger = _Following(due)
        self.executor = "default"
        self.coalesce = False
        self.next_run_time = due.times[0]
        self._times = list(due.times)

    def _get_run_times(self, now: datetime) -> list[datetime]:
        return self._times


class Noting(BaseExecutor):  # type: ignore[misc]
    """Executes nothing: notes which jobs were submitted. The runs are executed from the queue, by any process."""

    def __init__(self) -> None:
        super().__init__()
        self.submitted: list[str] = []

    def submit_job(self, job: Job, run_times: Sequence[datetime]) -> None:
        self.submitted.append(job.id)

    def _do_submit_job(self, job: Job, run_times: Sequence[datetime]) -> None:
        raise NotImplementedError


class Store(BaseJobStore):  # type: ignore[misc]
    """``ticked``, ``succeeded``: monotonic seconds of the last round, and of the last that did its work. ``thread``: whose they are.

    ``waits``: the last round could do nothing for want of the database. ``look``: called at each round (Supervisor.look).
    """

    def __init__(
        self,
        *,
        units: Units,
        clock: Clock,
        leader: Leader,
        firings: Firings,
        noting: Noting,
        launch: Callable[[str], None],
        look: Callable[[], None],
    ) -> None:
        self._units = units
        self._clock = clock
        self._leader = leader
        self._firings = firings
        self._noting = noting
        self._launch = launch
        self._look = look
        self._due: dict[str, Due] = {}
        self._ahead: dict[str, Due] = {}
        self._moved: dict[str, datetime | None] = {}
        self._now = clock.now()
        self._wait, self._failed = LONGEST_WAIT, False
        self.thread: threading.Thread | None = None
        self.ticked = self.succeeded = time.monotonic()
        self.waits = False
        self.lateness: float | None = None

    def get_due_jobs(self, now: datetime) -> list[Job]:
        self.thread = threading.current_thread()
        self._look()
        self._due, self._moved, self._wait, self._failed = {}, {}, LONGEST_WAIT, False
        self._noting.submitted.clear()
        self._patiently(self._read)
        return [_DueJob(self._scheduler, due) for due in self._due.values()]

    def update_job(self, job: Job) -> None:
        self._moved[job.id] = job.next_run_time

    def remove_job(self, job_id: str) -> None:
        """It never fires again; the schedule stays."""
        self._moved[job_id] = None

    def get_next_run_time(self) -> datetime:
        self._patiently(self._write)
        self.ticked = time.monotonic()
        if not self._failed:
            self.succeeded, self.waits = self.ticked, False
        return SystemClock().now() + self._wait  # APScheduler reckons by the clock of the machine

    def _patiently(self, step: Callable[[], None]) -> None:
        """Nothing may leave this store but a time to come again."""
        try:
            step()
        except Exception as error:
            self._due, self._wait, self._failed = {}, RETRY, True
            expected = self.waits = isinstance(error, errors.Unavailable)
            _log.log(logging.WARNING if expected else logging.ERROR, "scheduler: will try again (%s)", error, exc_info=not expected)

    def _read(self) -> None:
        """What is due; or, when that is nothing, what will be in a moment: then only the writing is left to do at its time."""
        ahead, self._ahead = self._ahead, {}
        self._now = self._clock.now()
        if self._leader.epoch is None:
            return
        if ahead and all(due.times[-1] <= self._now for due in ahead.values()):
            self._due = ahead
            return
        with self._units() as unit:
            self._due = _gathered(unit, self._now)
            following = None if self._due else unit.schedules.next_fire_time()
            self._come_again(following)
            if following is not None and following - self._now <= LONGEST_WAIT:
                self._ahead = _gathered(unit, following)

    def _write(self) -> None:
        due = [replace(self._due[name], following=self._moved[name]) for name in self._noting.submitted if name in self._moved]
        epoch = self._leader.epoch
        if not due or epoch is None:
            return
        crash_point("firing due")
        with contextvars.bound_contextvars(action="fire"):
            self._fire(due, epoch)

    def _fire(self, due: list[Due], epoch: int) -> None:
        with self._units() as unit:
            unit.guard(epoch)
            ids = self._firings.record(unit, due, now=self._now)
            following = unit.schedules.next_fire_time()
            crash_point("firing recorded")
            unit.commit()
        crash_point("firing committed")
        self.lateness = max((self._clock.now() - one.times[-1]).total_seconds() for one in due)
        self._come_again(following)
        for id in ids:
            self._launch(id)
        _log.info("%d schedules fired, %d runs are queued, %.3f s late", len(due), len(ids), self.lateness)

    def _come_again(self, following: datetime | None) -> None:
        if following is not None:
            self._wait = max(timedelta(0), min(LONGEST_WAIT, following - self._clock.now()))

    def lookup_job(self, job_id: str) -> Job | None:
        """None: schedules are changed by their own use cases, not by APScheduler's."""
        return None

    def get_all_jobs(self) -> list[Job]:
        return []

    def add_job(self, job: Job) -> None:
        raise NotImplementedError("Schedules are made by ScheduleService.")

    def remove_all_jobs(self) -> None:
        raise NotImplementedError("Schedules are deleted by ScheduleService.")


def _gathered(unit: UnitOfWork, at: datetime) -> dict[str, Due]:
    """What is due at an instant, by schedule, as much as one round takes."""
    found: dict[str, Due] = {}
    left = ROUND
    for state in unit.schedules.due(at, limit=ROUND):
        due = firing.due(state, at, most=min(left, firing.MOST))
        if due is not None and left > 0:
            found[state.schedule.name] = due
            left -= len(due.times)
    return found
