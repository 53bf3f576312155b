"""What this process is and has at the time of a scrape: its version and role, its connections, its place on disk."""

import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import mlsys
from mlsys.execution.leader import Leader
from mlsys.execution.runner import Runner
from mlsys.scheduling.scheduler import Scheduler


class Process(Collector):
    """``workers``: runs that it may work on at once; ``folders``: where it keeps files, by name."""

    def __init__(
        self, *, engine: sa.Engine, leader: Leader, scheduler: Scheduler, runner: Runner, workers: int, folders: Mapping[str, Path]
    ) -> None:
        self._engine = engine
        self._leader = leader
        self._scheduler = scheduler
        self._runner = runner
        self._workers = workers
        self._folders = folders

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        built = GaugeMetricFamily("mlsys_build_info", "Version of mlsys and of Python.", labels=["version", "python"])
        built.add_metric([mlsys.__version__, platform.python_version()], 1)
        yield built
        yield GaugeMetricFamily("mlsys_leader", "1: this process leads.", float(self._leader.epoch is not None))
        yield GaugeMetricFamily("mlsys_workers", "Runs that this process may work on at the same time.", self._workers)
        yield GaugeMetricFamily("mlsys_workers_busy", "Runs that this process works on.", len(self._runner.pending))
        late, text = self._scheduler.lateness, "Of the last firings here, from their time to their commit."
        yield GaugeMetricFamily("mlsys_scheduler_lateness_seconds", text, late)  # none before the first
        yield from self._pool()
        yield from self._disk()

    def _pool(self) -> Iterator[Metric]:
        pool = self._engine.pool
        if isinstance(pool, sa.QueuePool):
            yield GaugeMetricFamily("mlsys_database_pool_connections", "Connections that the pool may hold.", pool.size())
            yield GaugeMetricFamily("mlsys_database_pool_connections_in_use", "Connections in use.", pool.checkedout())

    def _disk(self) -> Iterator[Metric]:
        free = GaugeMetricFamily("mlsys_disk_free_bytes", "Room left where mlsys keeps its files.", labels=["folder"])
        size = GaugeMetricFamily("mlsys_disk_size_bytes", "All room there.", labels=["folder"])
        for name, path in self._folders.items():
            with suppress(OSError):  # health tells of it
                usage = shutil.disk_usage(path)
                free.add_metric([name], usage.free)
                size.add_metric([name], usage.total)
        yield free
        yield size
