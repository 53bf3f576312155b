"""What all parts stand on: the database and its unit of work, the stores, and the ports of jobs. Opens nothing."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from mlsys import declarations, sample, tracing
from mlsys.clock import Clock, SystemClock
from mlsys.config import Config
from mlsys.events.signals import Signals
from mlsys.execution.presence import Presence, application_name, new_owner
from mlsys.metrics.instruments import Instruments
from mlsys.pipelines.base import DataSets, Ports, Reporter
from mlsys.pipelines.files import DataRoots
from mlsys.registry.idempotency import Keys
from mlsys.registry.unit_of_work import TimedUnits, UnitOfWork, Units
from mlsys.storage.artifacts import FolderBlobs
from mlsys.storage.database import make_engine
from mlsys.storage.embedded import EmbeddedPostgres
from mlsys.system import Data
from mlsys.timetravel.compaction import Compactor
from mlsys.timetravel.datasets import DatasetService
from mlsys.timetravel.engine import Engine
from mlsys.timetravel.housekeeping import Housekeeping
from mlsys.timetravel.locks import ReadingLocks
from mlsys.timetravel.reader import JobPort, Reader
from mlsys.tracing import Tracer


@dataclass(frozen=True, kw_only=True)
class Ground:
    """``database``: the embedded one, if it is ours to run. ``ports_for``: what a job may touch, for its reporter."""

    config: Config
    clock: Clock
    tracer: Tracer
    database: EmbeddedPostgres | None
    engine: sa.Engine
    presence: Presence
    signals: Signals
    instruments: Instruments
    keys: Keys
    units: TimedUnits
    blobs: FolderBlobs
    files: DataRoots
    data: Data
    ports_for: Callable[[Reporter], Ports]

    def quiet(self) -> Ports:
        """What reads the data for no run's sake."""
        return self.ports_for(declarations.Silent())


def build(config: Config, *, clock: Clock | None, tracer: Tracer | None) -> Ground:
    clock, signals, owner = clock or SystemClock(), Signals(), new_owner()
    database = None if config.database.url else EmbeddedPostgres(home=config.home, log=logging.getLogger("mlsys.postgres").info)
    engine = make_engine(
        config.database.url or (database.url if database else ""),
        pool_size=config.database.pool_size,
        statement_timeout_seconds=config.database.statement_timeout_seconds,
        application_name=application_name(owner),
    )
    keys = Keys(engine=engine, lifetime=timedelta(hours=config.server.idempotency_hours))
    units = partial(UnitOfWork, engine=engine, clock=clock, signals=signals, before_commit=keys.note)
    blobs, files = FolderBlobs(folder=store(config)), roots(config)
    data = _data(config, units, FolderBlobs(folder=store(config) / "datasets"), database=engine)
    return Ground(
        config=config,
        clock=clock,
        tracer=tracer or tracing.sending_to(config.logging.traces),
        database=database,
        engine=engine,
        presence=Presence(engine=engine, owner=owner, lease_seconds=config.execution.lease_seconds),
        signals=signals,
        instruments=Instruments(signals=signals),
        keys=keys,
        units=units,
        blobs=blobs,
        files=files,
        data=data,
        ports_for=partial(ports, config=config, blobs=blobs, files=files, datasets=JobPort(reader=data.reader, units=units)),
    )


def store(config: Config) -> Path:
    return Path(config.artifacts.url) if config.artifacts.url else config.home / "artifacts"


def roots(config: Config) -> DataRoots:
    return DataRoots([*config.data.roots, sample.FOLDER])


def ports(reporter: Reporter, *, config: Config, blobs: FolderBlobs, files: DataRoots, datasets: DataSets) -> Ports:
    return Ports(
        blobs=blobs,
        files=files,
        outputs=config.home / "predictions",
        reporter=reporter,
        connections=config.data.connections,
        threads=config.execution.cores,
        datasets=datasets,
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
