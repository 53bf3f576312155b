"""Builds a System from a Config: the only package that knows every part. A file for each group of parts; here they are put together."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import sqlalchemy as sa

from mlsys import declarations, upkeep
from mlsys.bootstrap import ground as grounds
from mlsys.bootstrap import insight, outward, served, timetable, work
from mlsys.bootstrap.parts import Parts
from mlsys.clock import Clock
from mlsys.config import Config
from mlsys.execution.leader import Leader
from mlsys.execution.runner import Handler
from mlsys.registry.schema import Schema
from mlsys.registry.unit_of_work import Units
from mlsys.scheduling.scheduler import Scheduler
from mlsys.storage.artifacts import FolderBlobs
from mlsys.storage.migrate import Migrator
from mlsys.supervision import Supervisor
from mlsys.system import System
from mlsys.timetravel.verifying import Verifier
from mlsys.tracing import Tracer


def build(
    config: Config, *, clock: Clock | None = None, handlers: Mapping[str, Handler] | None = None, tracer: Tracer | None = None
) -> System:
    """Wires everything; opens nothing. Raises ConfigError and Invalid for a configuration that cannot work.

    ``handlers``: what runs of these kinds do, in place of what they do otherwise. ``tracer``: in place of the configured one.
    """
    parts = _parts(config, clock=clock, handlers=handlers or {}, tracer=tracer)
    parts.supervisor.watch(*parts.threads())
    ground, working, outside = parts.ground, parts.work, parts.outward
    return System(
        config=config,
        services=served.build(parts),
        database=ground.database,
        tracer=ground.tracer,
        engine=ground.engine,
        presence=ground.presence,
        runner=working.runner,
        bodies=working.bodies,
        recovery=working.recovery,
        leader=parts.leader,
        scheduler=parts.timetable.scheduler,
        publisher=outside.publisher,
        dispatcher=outside.dispatcher,
        listeners=outside.listeners,
        data=ground.data,
        watch=parts.insight.watch,
        verifier=Verifier(units=ground.units, blobs=ground.blobs, data=ground.data.blobs),
        upkeep=parts.upkeep,
    )


def check_parts(config: Config, models: Mapping[str, dict[str, Any]], *, columns: bool = False) -> dict[str, str]:
    """See declarations.check_parts(); with ``columns`` also check_columns()."""
    blobs, files = FolderBlobs(folder=grounds.store(config)), grounds.roots(config)
    ports = grounds.ports(declarations.Silent(), config=config, blobs=blobs, files=files, datasets=declarations.Unopened())
    declarations.sinks(config, engine=sa.create_engine("postgresql+psycopg2://"), post=lambda url, body, headers: 0)  # built, not used
    found = declarations.check_parts(models, ports=ports)
    return found | declarations.check_columns(models, ports=ports) if columns else found


def _parts(config: Config, *, clock: Clock | None, handlers: Mapping[str, Handler], tracer: Tracer | None) -> Parts:
    models = declarations.declared(config)
    ground = grounds.build(config, clock=clock, tracer=tracer)
    engine, migrator, supervisor = ground.engine, Migrator(engine=ground.engine), Supervisor()
    leader = Leader(engine=engine, look=supervisor.look)
    working = work.build(ground, handlers=handlers)
    planned = timetable.build(ground, working, leader, models=models, look=supervisor.look)
    stores = {"artifacts": ground.blobs, "datasets": ground.data.blobs}
    return Parts(
        ground=ground,
        work=working,
        outward=outward.build(ground, working, leader),
        timetable=planned,
        insight=insight.build(ground),
        upkeep=upkeep.build(config, engine, migrator, ground.units, ground.clock, leader, ground.presence, stores=stores),
        leader=leader,
        supervisor=supervisor,
        schema=Schema(migrator=migrator, on_head=partial(_on_head, ground.units, models, planned.scheduler)),
    )


def _on_head(units: Units, models: Mapping[str, dict[str, Any]], scheduler: Scheduler) -> None:
    with units() as unit:
        for name, declaration in models.items():
            unit.models.define(name, declaration)
        unit.commit()
    scheduler.on_head()
