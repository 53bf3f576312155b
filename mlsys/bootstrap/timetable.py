"""Schedules: declared and managed, fired by the leader's scheduler. Opens nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mlsys import declarations
from mlsys.bootstrap.ground import Ground
from mlsys.bootstrap.work import Work
from mlsys.execution.leader import Leader
from mlsys.scheduling import specs
from mlsys.scheduling.firing import Firings
from mlsys.scheduling.scheduler import Scheduler
from mlsys.scheduling.service import ScheduleService
from mlsys.scheduling.store import Noting, Store


@dataclass(frozen=True, kw_only=True)
class Timetable:
    service: ScheduleService
    scheduler: Scheduler


def build(ground: Ground, work: Work, leader: Leader, *, models: Mapping[str, dict[str, Any]], look: Callable[[], None]) -> Timetable:
    """``look``: called about once a second by the scheduler's thread."""
    units, clock, noting = ground.units, ground.clock, Noting()
    makers = specs.makers(jobs=work.jobs, backfills=work.backfills, backtests=work.backtests)
    firings = Firings(makers=makers, grace=timedelta(seconds=ground.config.scheduling.misfire_grace_seconds))
    declared = declarations.scheduled(ground.config, models)
    service = ScheduleService(units=units, clock=clock, jobs=work.jobs, makers=makers, firings=firings, declared=declared)
    store = Store(units=units, clock=clock, leader=leader, firings=firings, noting=noting, launch=work.runner.launch, look=look)
    scheduler = Scheduler(store=store, noting=noting, leader=leader, units=units, clock=clock, reconcile=service.reconcile)
    return Timetable(service=service, scheduler=scheduler)
