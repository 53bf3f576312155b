"""The use cases of schedules: made, changed, paused, deleted, triggered, and held against what config.yaml declares."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from mlsys import errors
from mlsys.clock import Clock
from mlsys.execution.service import JobService
from mlsys.records import Json, Run, Schedule, ScheduleState
from mlsys.registry.unit_of_work import UnitOfWork, Units
from mlsys.scheduling import cron, declaring, firing, planning
from mlsys.scheduling.firing import Firings
from mlsys.scheduling.specs import Makers, Specs

_log = logging.getLogger(__name__)


class ScheduleService:
    """``declared``: the schedules of config.yaml. The scheduler, in whichever process, sees a change within a second."""

    def __init__(
        self, *, units: Units, clock: Clock, jobs: JobService, makers: Makers, firings: Firings, declared: Mapping[str, Schedule]
    ) -> None:
        self._units = units
        self._clock = clock
        self._jobs = jobs
        self._makers = makers
        self._firings = firings
        self._declared = declared

    def create(self, schedule: Schedule) -> tuple[ScheduleState, bool]:
        """The schedule, and whether it is new; one that is just so already is left alone. Raises Conflict, Invalid."""
        with self._units() as unit:
            unit.schedules.lock(schedule.name)
            found = unit.schedules.find(schedule.name)
            if found is not None and found.schedule != schedule:
                raise errors.Conflict(f"There is another schedule {schedule.name!r}; PUT /schedules/{schedule.name} replaces it.")
            return self._committed(unit, found, schedule), found is None

    def replace(self, schedule: Schedule) -> ScheduleState:
        """Puts this in place of the schedule of that name. Raises NotFound, Invalid."""
        with self._units() as unit:
            return self._committed(unit, self._alone(unit, schedule.name), schedule)

    def switch(self, name: str, *, enabled: bool) -> ScheduleState:
        """Pauses or resumes; what would have fired in between was not missed. Raises NotFound, and Invalid when the model is gone."""
        with self._units() as unit:
            found = self._alone(unit, name)
            return self._committed(unit, found, replace(found.schedule, enabled=enabled))

    def delete(self, name: str) -> None:
        """Its definitions and runs stay in the log. Raises NotFound."""
        with self._units() as unit:
            self._remove(unit, self._alone(unit, name), declared=False)
            unit.commit()

    def trigger(self, name: str, *, trigger: Json) -> Run:
        """Queues a run as of now, beside the schedule's own, whether it is enabled or not. Raises NotFound, Invalid, Conflict."""
        with self._units() as unit:
            schedule = unit.schedules.get(name).schedule
            spec = Specs(unit, self._makers).of(schedule, planning.window(schedule, self._clock.now()))
            return self._jobs.queue(unit, schedule.kind, spec, {**trigger, "schedule": name})

    def reconcile(self) -> None:
        """Holds the declarations against the log: new and changed ones are put in force, those removed from the file are deleted.

        A declaration that has not changed leaves its schedule alone: what fell due meanwhile fires, and a change made by hand stands.
        """
        with self._units() as unit:
            unit.schedules.lock_declarations()
            before = unit.schedules.declared()
            for name in sorted({*before, *self._declared}):
                self._reconcile(unit, name, before.get(name), self._declared.get(name))
            unit.commit()

    def _reconcile(self, unit: UnitOfWork, name: str, before: Schedule | None, declared: Schedule | None) -> None:
        if before == declared:
            return
        unit.schedules.lock(name)
        found = unit.schedules.find(name, alone=True)
        if declared is not None:
            self._define(unit, found, declared, declared=True)
        elif found is not None:
            _log.info("schedule %s: removed from the configuration, and so deleted", name)
            self._remove(unit, found, declared=True)

    def _alone(self, unit: UnitOfWork, name: str) -> ScheduleState:
        unit.schedules.lock(name)
        return unit.schedules.get(name, alone=True)

    def _committed(self, unit: UnitOfWork, found: ScheduleState | None, schedule: Schedule) -> ScheduleState:
        if found is None or found.schedule != schedule:
            declaring.check_model(schedule, unit.models.definition(schedule.model_name))
            self._define(unit, found, schedule, declared=False)
        state = unit.schedules.get(schedule.name)
        unit.commit()
        return state

    def _define(self, unit: UnitOfWork, found: ScheduleState | None, schedule: Schedule, *, declared: bool) -> None:
        """One that keeps its times keeps what is due; of one that gets others, what is due is recorded first."""
        following = found.next_fire_time if found is not None else None
        if found is None or _timing(found.schedule) != _timing(schedule):
            self._settle(unit, found, stopped=not schedule.enabled)
            following = next(cron.times(schedule.cron, schedule.timezone, self._clock.now()), None) if schedule.enabled else None
        unit.schedules.define(schedule, declared=declared, next_fire_time=following)

    def _remove(self, unit: UnitOfWork, found: ScheduleState, *, declared: bool) -> None:
        self._settle(unit, found, stopped=True)
        unit.schedules.delete(found.schedule, declared=declared)

    def _settle(self, unit: UnitOfWork, found: ScheduleState | None, *, stopped: bool) -> None:
        """Records what is due by the definition until now. Recovery finds the runs, as after any commit that nobody acted on."""
        now = self._clock.now()
        while found is not None and (due := firing.due(found, now, stopped=stopped)) is not None:
            self._firings.record(unit, [due], now=now)
            found = unit.schedules.get(found.schedule.name)


def fire_times(state: ScheduleState, *, as_of: datetime | None = None, count: int = 5) -> list[datetime]:
    """When it fires next, now or as seen at an instant of the past. One that is due and not recorded yet comes first."""
    first = state.next_fire_time if as_of is None else as_of
    if first is None or not state.schedule.enabled:
        return []
    due = [first] if as_of is None else []
    return [*due, *cron.first(state.schedule.cron, state.schedule.timezone, first, count - len(due))]


def _timing(schedule: Schedule) -> tuple[object, ...]:
    return schedule.cron, schedule.timezone, schedule.enabled
