"""Backup, restore and retention of a system: wired here, so that bootstrap need not know what they are made of. Opens nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

import mlsys
from mlsys.backup.making import Backup
from mlsys.backup.restoring import Restore
from mlsys.clock import Clock
from mlsys.config import Config, Retention
from mlsys.execution.leader import Leader
from mlsys.execution.presence import Presence
from mlsys.registry.unit_of_work import Units
from mlsys.retention.collector import Collector
from mlsys.retention.keeper import Keeper
from mlsys.retention.leftovers import Sweeper
from mlsys.retention.policy import Policy
from mlsys.storage.artifacts import FolderBlobs
from mlsys.storage.migrate import Migrator
from mlsys.webhooks import sealing

_CONFIG = "config.yaml"


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """The parts that keep a home small and safe."""

    collector: Collector
    keeper: Keeper
    backup: Backup
    restore: Restore


def build(
    config: Config,
    engine: sa.Engine,
    migrator: Migrator,
    units: Units,
    clock: Clock,
    leader: Leader,
    presence: Presence,
    *,
    stores: Mapping[str, FolderBlobs],
) -> Upkeep:
    """``stores``: blobs by the store's name."""
    collector = Collector(units=units, clock=clock, sweeper=Sweeper(units=units, stores=stores), policy=_policy(config.retention))
    key = {sealing.NAME: config.home / sealing.NAME}
    kept = key | ({_CONFIG: config.file} if config.file else {})
    put = key | {_CONFIG: config.home / "config.restored.yaml"}  # beside the one in force, which may be meant for another machine
    return Upkeep(
        collector=collector,
        keeper=Keeper(collector=collector, leader=leader, every=config.retention.gc_hours * 3600 or None),
        backup=Backup(engine=engine, migrator=migrator, clock=clock, stores=stores, files=kept, version=mlsys.__version__),
        restore=Restore(engine=engine, migrator=migrator, home=config.home, stores=stores, files=put, alive=presence.alive),
    )


def _policy(given: Retention) -> Policy:
    return Policy(
        newest=given.keep_versions,
        age=timedelta(days=given.keep_version_days),
        grace=timedelta(hours=given.leftover_hours),
        lines=timedelta(days=given.run_logs_days),
        deliveries=timedelta(days=given.deliveries_days),
    )
