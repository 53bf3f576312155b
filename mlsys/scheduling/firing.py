"""Records firings: their runs, what was missed and why, and the schedules' next times, within the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from mlsys import errors
from mlsys.clock import rfc3339
from mlsys.events import types
from mlsys.records import Schedule, ScheduleState
from mlsys.registry.firings import NewRun
from mlsys.registry.unit_of_work import UnitOfWork
from mlsys.scheduling import cron, planning
from mlsys.scheduling.planning import Firing
from mlsys.scheduling.specs import Makers, Specs, plain

MOST = 1000  # firings of one schedule in one transaction


@dataclass(frozen=True, kw_only=True)
class Due:
    """A schedule as it was read, the fire times that have come, oldest first, and the one after them (None: there is none).

    ``stopped``: they are only noted, since the schedule is being paused, changed or deleted.
    """

    state: ScheduleState
    times: Sequence[datetime]
    following: datetime | None
    stopped: bool = False


def due(state: ScheduleState, now: datetime, *, most: int = MOST, stopped: bool = False) -> Due | None:
    """What of a schedule has come by ``now``, ``most`` of it at once; None when nothing has."""
    first = state.next_fire_time
    if first is None or first > now:
        return None
    times = [first]
    for at in cron.times(state.schedule.cron, state.schedule.timezone, first):
        if at > now or len(times) == most:
            return Due(state=state, times=times, following=at, stopped=stopped)
        times.append(at)
    return Due(state=state, times=times, following=None, stopped=stopped)


class Firings:
    """``grace``: how late a firing may be without having been missed."""

    def __init__(self, *, makers: Makers, grace: timedelta) -> None:
        self._makers = makers
        self._grace = grace

    def record(self, unit: UnitOfWork, due: Sequence[Due], *, now: datetime) -> list[str]:
        """Records all that is due, and moves its schedules on. Returns the ids of the runs that wait to be executed.

        A schedule that no longer stands as it was read is left out: the next round sees it as it is.
        """
        standing = unit.schedules.confirm([one.state for one in due])
        due = [one for one in due if one.state.schedule.name in standing]
        busy = unit.firings.unfinished([one.state.schedule.name for one in due if one.state.schedule.overlap == "skip"])
        specs = Specs(unit, self._makers)
        planned = [(one.state.schedule, self._plan(one, now, busy)) for one in due]
        runs = [_run(schedule, firing, specs) for schedule, firings in planned for firing in firings]
        ids = unit.firings.record(runs)
        unit.events.append_all(types.SCHEDULE_MISSED, [told for schedule, firings in planned for told in _missed(schedule, firings)])
        unit.schedules.advance((one.state, one.following, one.times[-1]) for one in due)
        return [id for number, id in ids.items() if runs[number].status == "queued"]

    def _plan(self, due: Due, now: datetime, busy: set[str]) -> list[Firing]:
        schedule = due.state.schedule
        if due.stopped:
            return [Firing(fire_time=at, outcome="stopped") for at in due.times]
        more = due.following is not None and due.following <= now
        return planning.plan(schedule, due.times, now=now, grace=self._grace, more=more, running=schedule.name in busy)


def _run(schedule: Schedule, firing: Firing, specs: Specs) -> NewRun:
    """Queued, or in its end already: skipped, or failed for what makes it impossible."""
    window = planning.window(schedule, firing.fire_time)
    status, spec, detail = "queued", plain(schedule, window), dict[str, Any]()
    if firing.outcome != "run":
        status, detail = "skipped", _error(firing.outcome, planning.REASONS[firing.outcome])
    else:
        try:
            spec = specs.of(schedule, window)
        except errors.MlsysError as error:
            status, detail = "failed", _error(error.kind, str(error))
    return NewRun(
        kind=schedule.kind,
        model_name=schedule.model_name,
        trigger={"type": "schedule", "schedule": schedule.name, "fire_time": rfc3339(firing.fire_time)},
        spec=spec,
        status=status,
        detail=detail,
    )


def _missed(schedule: Schedule, firings: Sequence[Firing]) -> list[dict[str, Any]]:
    """What schedule.missed tells: for each reason how many firings did not run, and from when to when."""
    skipped = sorted((firing for firing in firings if firing.outcome != "run"), key=lambda firing: firing.outcome)
    about = {"schedule": schedule.name, "kind": schedule.kind, "model_name": schedule.model_name}
    policies = {"misfire": schedule.misfire, "overlap": schedule.overlap}
    told = []
    for outcome, group in groupby(skipped, key=lambda firing: firing.outcome):
        times = [rfc3339(firing.fire_time) for firing in group]
        span = {"count": len(times), "first_fire_time": times[0], "last_fire_time": times[-1]}
        told.append({**about, **policies, "reason": outcome, "message": planning.REASONS[outcome], **span})
    return told


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"error": {"kind": kind, "message": message}}
