"""Builds a System from a Config: the only file that knows every part."""

import logging
import os
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import mlsys
from mlsys import declarations, entrance, health, sample, tracing, upkeep
from mlsys.access.tokens import Tokens
from mlsys.api.services import Services
from mlsys.clock import Clock, SystemClock
from mlsys.config import Config
from mlsys.events.signals import Signals
from mlsys.execution.backfill import BackfillHandler, BackfillService
from mlsys.execution.backtest import BacktestHandler, BacktestService
from mlsys.execution.engines import Processes, Threads
from mlsys.execution.handlers import PredictHandler, TrainHandler
from mlsys.execution.leader import Leader
from mlsys.execution.limits import Limits as RunLimits
from mlsys.execution.presence import Presence, application_name, new_owner
from mlsys.execution.queue import Queue
from mlsys.execution.recovery import Recovery
from mlsys.execution.replay import ReplayHandler
from mlsys.execution.runner import Handler, Runner
from mlsys.execution.service import JobService
from mlsys.execution.waiting import RunWaiter
from mlsys.metrics.instruments import Instruments
from mlsys.metrics.process import Process
from mlsys.metrics.state import State
from mlsys.monitoring.accuracy import Accuracy
from mlsys.monitoring.actuals import Actuals
from mlsys.monitoring.degradation import Degradation
from mlsys.monitoring.explanations import Explainer
from mlsys.monitoring.latest import Latest
from mlsys.monitoring.watch import Watch
from mlsys.pipelines.base import DataSets, Ports, Reporter
from mlsys.pipelines.files import DataRoots
from mlsys.publishing import listeners
from mlsys.publishing.follower import Follower
from mlsys.publishing.listeners import Listeners
from mlsys.publishing.publisher import Publisher
from mlsys.registry.idempotency import Keys
from mlsys.registry.production import Production
from mlsys.registry.schema import Schema
from mlsys.registry.unit_of_work import UnitOfWork, Units
from mlsys.scheduling import specs
from mlsys.scheduling.firing import Firings
from mlsys.scheduling.scheduler import Scheduler
from mlsys.scheduling.service import ScheduleService
from mlsys.scheduling.store import Noting, Store
from mlsys.storage.artifacts import FolderBlobs
from mlsys.storage.database import make_engine
from mlsys.storage.embedded import EmbeddedPostgres
from mlsys.storage.migrate import Migrator
from mlsys.supervision import Supervisor
from mlsys.system import Data, System
from mlsys.timetravel.compaction import Compactor
from mlsys.timetravel.datasets import DatasetService
from mlsys.timetravel.engine import Engine
from mlsys.timetravel.housekeeping import Housekeeping
from mlsys.timetravel.locks import ReadingLocks
from mlsys.timetravel.predictions import PredictionReader
from mlsys.timetravel.reader import JobPort, Reader
from mlsys.timetravel.verifying import Verifier
from mlsys.tracing import Tracer
from mlsys.webhooks.attempts import Attempter
from mlsys.webhooks.dispatcher import Dispatcher
from mlsys.webhooks.outbound import Outbound
from mlsys.webhooks.retries import Schedule
from mlsys.webhooks.sealing import Sealer
from mlsys.webhooks.subscriptions import Subscriptions


def build(
    config: Config, *, clock: Clock | None = None, handlers: Mapping[str, Handler] | None = None, tracer: Tracer | None = None
) -> System:
    """Wires everything; opens nothing. Raises ConfigError and Invalid for a configuration that cannot work.

    ``handlers``: what runs of these kinds do, in place of what they do otherwise. ``tracer``: in place of the configured one.
    """
    tracer = tracer or tracing.sending_to(config.logging.traces)
    clock = clock or SystemClock()
    models = declarations.declared(config)
    schedules = declarations.scheduled(config, models)
    database = None if config.database.url else EmbeddedPostgres(home=config.home, log=logging.getLogger("mlsys.postgres").info)
    owner = new_owner()
    engine = make_engine(
        config.database.url or (database.url if database else ""),
        pool_size=config.database.pool_size,
        statement_timeout_seconds=config.database.statement_timeout_seconds,
        application_name=application_name(owner),
    )
    signals = Signals()
    instruments = Instruments(signals=signals)
    keys = Keys(engine=engine, lifetime=timedelta(hours=config.server.idempotency_hours))
    units = partial(UnitOfWork, engine=engine, clock=clock, signals=signals, before_commit=keys.note)
    blobs, files = FolderBlobs(folder=_store(config)), _files(config)
    data = _data(config, units, FolderBlobs(folder=_store(config) / "datasets"), database=engine)
    ports_for = partial(_ports, config=config, blobs=blobs, files=files, datasets=JobPort(reader=data.reader, units=units))
    quiet = partial(ports_for, declarations.Silent())
    presence = Presence(engine=engine, owner=owner, lease_seconds=config.execution.lease_seconds)
    bodies = _bodies(config)
    does: dict[str, Handler] = {
        "train": TrainHandler(units=units, ports_for=ports_for, engine=bodies),
        "predict": PredictHandler(units=units, ports_for=ports_for, clock=clock, engine=bodies),
        "replay": ReplayHandler(units=units, ports_for=ports_for, forget=data.reader.forget, engine=bodies),
        "backfill": BackfillHandler(units=units, ports_for=ports_for, clock=clock, owner=owner, engine=bodies),
        "backtest": BacktestHandler(units=units, ports_for=ports_for, engine=bodies),
        **(handlers or {}),
    }
    limits = _limits(config)
    runner = Runner(units=units, handlers=does, presence=presence, limits=limits, tracer=tracer, ended=instruments.run)
    queue = Queue(launch=runner.launch, most=config.execution.max_queued, tracer=tracer)
    supervisor = Supervisor()
    leader = Leader(engine=engine, look=supervisor.look)
    outbound = Outbound(allowed_hosts=config.webhooks.allowed_hosts, timeout_seconds=config.webhooks.timeout_seconds)
    sinks = declarations.sinks(config, engine=engine, post=lambda url, body, headers: outbound.post(url, body, headers).status)
    listening = Listeners(signals=signals, listeners=listeners.installed())
    publisher = Publisher(
        engine=engine, units=units, signals=signals, epoch=lambda: leader.epoch, clock=clock, sinks=sinks, queued=runner.wake
    )
    recovery = Recovery(units=units, runner=runner, presence=presence, max_attempts=limits.max_attempts, delay=limits.delay)
    jobs = JobService(units=units, files=files, queue=queue)
    sealer = Sealer(folder=config.home, key=config.webhooks.secret_key)
    retries = Schedule(config.webhooks.retry_schedule)
    attempter = Attempter(clock=clock, outbound=outbound, sealer=sealer, schedule=retries, tracer=tracer, attempted=instruments.attempt)
    dispatcher = _dispatcher(config, units, clock, presence, sealer, attempter)
    publisher.growth.call(dispatcher.wake)
    backfills = BackfillService(units=units, clock=clock, queue=queue)
    backtests = BacktestService(units=units, queue=queue, ports=quiet)
    makers = specs.makers(jobs=jobs, backfills=backfills, backtests=backtests)
    firings = Firings(makers=makers, grace=timedelta(seconds=config.scheduling.misfire_grace_seconds))
    scheduled = ScheduleService(units=units, clock=clock, jobs=jobs, makers=makers, firings=firings, declared=schedules)
    noting = Noting()
    store = Store(units=units, clock=clock, leader=leader, firings=firings, noting=noting, launch=runner.launch, look=supervisor.look)
    scheduler = Scheduler(store=store, noting=noting, leader=leader, units=units, clock=clock, reconcile=scheduled.reconcile)
    migrator = Migrator(engine=engine)
    schema = Schema(migrator=migrator, on_head=partial(_on_head, units, models, scheduler))
    predictions = PredictionReader(units=units, blobs=blobs, engine=data.engine)
    accuracy = Accuracy(units=units, predictions=predictions, actuals=Actuals(units=units, ports=quiet))
    latest = Latest(units=units, accuracy=accuracy)
    folders = {"home": config.home, "artifacts": _store(config)}
    process = Process(engine=engine, leader=leader, scheduler=scheduler, runner=runner, workers=limits.workers, folders=folders)
    instruments.collect(State(units=units, sinks=publisher.sinks, accuracy=latest.days), process)
    kept = upkeep.build(config, engine, migrator, units, clock, leader, presence, stores={"artifacts": blobs, "datasets": data.blobs})
    watch = Watch(degradation=Degradation(units=units, accuracy=accuracy), latest=latest, signals=signals)
    supervisor.watch(leader.thread, scheduler, *recovery.threads, *publisher.threads, *dispatcher.threads)
    supervisor.watch(
        listening.thread, data.housekeeping.thread, watch.thread, kept.keeper.thread, *(() if database is None else (database.thread,))
    )
    services = Services(
        jobs=jobs,
        schedules=scheduled,
        backfills=backfills,
        backtests=backtests,
        production=Production(units=units, blobs=blobs),
        datasets=data.service,
        reader=data.reader,
        predictions=predictions,
        accuracy=accuracy,
        explainer=Explainer(units=units, ports=quiet),
        schema=schema,
        units=units,
        keys=keys,
        waiter=RunWaiter(units=units, signals=signals, limit=max(1, config.server.threads // 2)),
        follower=Follower(units=units, growth=publisher.growth, limit=config.server.max_followers),
        health=partial(
            health.report,
            {
                "database": partial(health.database, engine, schema),
                "executor": runner.health,
                "recovery": recovery.health,
                "scheduler": scheduler.health,
                "threads": supervisor.health,
                "events": publisher.health,
                "webhooks": dispatcher.health,
                "listeners": listening.health,
                "retention": kept.keeper.health,
                "artifacts": partial(health.artifacts, blobs),
                "home": partial(health.home, [config.home, *(() if database is None else (database.data,))]),
            },
        ),
        metrics=instruments.registry,
        counted=instruments.request,
        tracer=tracer,
        webhooks=Subscriptions(
            units=units,
            clock=clock,
            outbound=outbound,
            sealer=sealer,
            overlap=timedelta(hours=config.webhooks.rotation_hours),
            wake=dispatcher.wake,
        ),
        sealer=sealer,
        callers=entrance.callers(config, units=units, clock=clock),
        tokens=Tokens(units=units, clock=clock),
        limits=entrance.limits(config),
        version=mlsys.__version__,
    )
    return System(
        config=config,
        services=services,
        database=database,
        tracer=tracer,
        engine=engine,
        presence=presence,
        runner=runner,
        bodies=bodies,
        recovery=recovery,
        leader=leader,
        scheduler=scheduler,
        publisher=publisher,
        dispatcher=dispatcher,
        listeners=listening,
        data=data,
        watch=watch,
        verifier=Verifier(units=units, blobs=blobs, data=data.blobs),
        upkeep=kept,
    )


def _dispatcher(config: Config, units: Units, clock: Clock, presence: Presence, sealer: Sealer, attempter: Attempter) -> Dispatcher:
    return Dispatcher(
        units=units,
        clock=clock,
        sealer=sealer,
        attempter=attempter,
        owner=presence.owner,
        alive=presence.alive,
        threads=config.webhooks.threads,
    )


def _data(config: Config, units: Units, blobs: FolderBlobs, *, database: sa.Engine) -> Data:
    """Data files lie in a store of their own: what no manifest names there was left by a killed writer."""
    # its reach is the whole store: predictions are kept beside the data files
    engine = Engine(folder=blobs.folder.parent, spill=config.home / "spill", memory_mib=config.data.memory_mib, threads=os.cpu_count() or 1)
    locks = ReadingLocks(engine=database)
    reader = Reader(units=units, blobs=blobs, engine=engine, locks=locks)
    housekeeping = Housekeeping(units=units, compactor=Compactor(units=units, blobs=blobs, engine=engine, reader=reader))
    service = DatasetService(
        units=units,
        blobs=blobs,
        engine=engine,
        reader=reader,
        spool=config.home / "spool",
        max_rows=config.data.max_rows,
        wake=housekeeping.wake,
    )
    return Data(blobs=blobs, service=service, reader=reader, housekeeping=housekeeping, engine=engine, locks=locks)


def check_parts(config: Config, models: Mapping[str, dict[str, Any]], *, columns: bool = False) -> dict[str, str]:
    """See declarations.check_parts(); with ``columns`` also check_columns()."""
    blobs, files = FolderBlobs(folder=_store(config)), _files(config)
    ports = _ports(declarations.Silent(), config=config, blobs=blobs, files=files, datasets=declarations.Unopened())
    declarations.sinks(config, engine=sa.create_engine("postgresql+psycopg2://"), post=lambda url, body, headers: 0)  # built, not used
    found = declarations.check_parts(models, ports=ports)
    return found | declarations.check_columns(models, ports=ports) if columns else found


def _bodies(config: Config) -> Threads | Processes:
    given = config.execution
    return Processes(workers=given.workers, memory_mib=given.memory_mib) if given.engine == "processes" else Threads()


def _limits(config: Config) -> RunLimits:
    given = config.execution
    return RunLimits(
        workers=given.workers,
        max_attempts=given.max_attempts,
        retry_seconds=given.retry_seconds,
        alone=() if given.concurrent_trainings else ("train",),
        timeouts=given.timeouts,
    )


def _on_head(units: Units, models: Mapping[str, dict[str, Any]], scheduler: Scheduler) -> None:
    with units() as unit:
        for name, declaration in models.items():
            unit.models.define(name, declaration)
        unit.commit()
    scheduler.on_head()


def _store(config: Config) -> Path:
    return Path(config.artifacts.url) if config.artifacts.url else config.home / "artifacts"


def _files(config: Config) -> DataRoots:
    return DataRoots([*config.data.roots, sample.FOLDER])


def _ports(reporter: Reporter, *, config: Config, blobs: FolderBlobs, files: DataRoots, datasets: DataSets) -> Ports:
    return Ports(
        blobs=blobs,
        files=files,
        outputs=config.home / "predictions",
        reporter=reporter,
        connections=config.data.connections,
        threads=config.execution.cores,
        datasets=datasets,
    )
