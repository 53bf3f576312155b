"""What the API calls: the use cases, what health and metrics are made of, and who may call. Opens nothing."""

from collections.abc import Callable
from functools import partial
from typing import Any

import mlsys
from mlsys import entrance, health
from mlsys.access.tokens import Tokens
from mlsys.api.services import Services
from mlsys.bootstrap.ground import store
from mlsys.bootstrap.parts import Parts
from mlsys.execution.waiting import RunWaiter
from mlsys.metrics.process import Process
from mlsys.metrics.state import State
from mlsys.places import Places
from mlsys.registry.production import Production

_DOWNLOADS_FULL = "As many downloads of whole tables go on as half of server.threads. Try again, or ask for pages of JSON."


def build(parts: Parts) -> Services:
    ground, work, outward, insight = parts.ground, parts.work, parts.outward, parts.insight
    config, units, clock = ground.config, ground.units, ground.clock
    _collect(parts)
    return Services(
        jobs=work.jobs,
        schedules=parts.timetable.service,
        backfills=work.backfills,
        backtests=work.backtests,
        production=Production(units=units, blobs=ground.blobs),
        datasets=ground.data.service,
        reader=ground.data.reader,
        predictions=insight.predictions,
        accuracy=insight.accuracy,
        explainer=insight.explainer,
        schema=parts.schema,
        units=units,
        keys=ground.keys,
        waiter=RunWaiter(units=units, signals=ground.signals, limit=max(1, config.server.threads // 2)),
        follower=outward.follower,
        downloads=Places(max(1, config.server.threads // 2), full=_DOWNLOADS_FULL),
        health=partial(health.report, _checks(parts)),
        metrics=ground.instruments.registry,
        counted=ground.instruments.request,
        tracer=ground.tracer,
        webhooks=outward.subscriptions,
        sealer=outward.sealer,
        callers=entrance.callers(config, units=units, clock=clock),
        tokens=Tokens(units=units, clock=clock),
        limits=entrance.limits(config),
        version=mlsys.__version__,
    )


def _checks(parts: Parts) -> dict[str, Callable[[], Any]]:
    ground, outward, database = parts.ground, parts.outward, parts.ground.database
    return {
        "database": partial(health.database, ground.engine, parts.schema),
        "executor": parts.work.runner.health,
        "recovery": parts.work.recovery.health,
        "scheduler": parts.timetable.scheduler.health,
        "threads": parts.supervisor.health,
        "events": outward.publisher.health,
        "webhooks": outward.dispatcher.health,
        "listeners": outward.listeners.health,
        "retention": parts.upkeep.keeper.health,
        "artifacts": partial(health.artifacts, ground.blobs),
        "home": partial(health.home, [ground.config.home, *(() if database is None else (database.data,))]),
    }


def _collect(parts: Parts) -> None:
    """What a scrape asks for, beside what is counted as it happens."""
    ground, insight = parts.ground, parts.insight
    process = Process(
        engine=ground.engine,
        leader=parts.leader,
        scheduler=parts.timetable.scheduler,
        runner=parts.work.runner,
        workers=parts.work.limits.workers,
        folders={"home": ground.config.home, "artifacts": store(ground.config)},
    )
    ground.instruments.collect(State(units=ground.units, sinks=parts.outward.publisher.sinks, accuracy=insight.latest.days), process)
