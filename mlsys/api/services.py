"""What the API is given: the use cases it calls, and its limits. Built by bootstrap."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry

from mlsys.access.tokens import Tokens
from mlsys.api.callers import Callers
from mlsys.execution.backfill import BackfillService
from mlsys.execution.backtest import BacktestService
from mlsys.execution.service import JobService
from mlsys.execution.waiting import RunWaiter
from mlsys.monitoring.accuracy import Accuracy
from mlsys.monitoring.explanations import Explainer
from mlsys.places import Places
from mlsys.publishing.follower import Follower
from mlsys.registry.idempotency import Keys
from mlsys.registry.production import Production
from mlsys.registry.schema import Schema
from mlsys.registry.unit_of_work import TimedUnits
from mlsys.scheduling.service import ScheduleService
from mlsys.timetravel.datasets import DatasetService
from mlsys.timetravel.predictions import PredictionReader
from mlsys.timetravel.reader import Reader
from mlsys.tracing import Tracer
from mlsys.webhooks.sealing import Sealer
from mlsys.webhooks.subscriptions import Subscriptions


@dataclass(frozen=True, kw_only=True)
class Limits:
    max_body_bytes: int
    max_upload_bytes: int
    max_json_depth: int
    allowed_hosts: frozenset[str]
    cors_origins: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Services:
    """``counted`` is told of each request: method, route, status, seconds."""

    jobs: JobService
    schedules: ScheduleService
    backfills: BackfillService
    backtests: BacktestService
    production: Production
    datasets: DatasetService
    reader: Reader
    predictions: PredictionReader
    accuracy: Accuracy
    explainer: Explainer
    schema: Schema
    units: TimedUnits
    keys: Keys
    waiter: RunWaiter
    follower: Follower
    downloads: Places
    health: Callable[[], dict[str, Any]]
    metrics: CollectorRegistry
    counted: Callable[[str, str, int, float], None]
    tracer: Tracer
    webhooks: Subscriptions
    sealer: Sealer
    callers: Callers
    tokens: Tokens
    limits: Limits
    version: str
