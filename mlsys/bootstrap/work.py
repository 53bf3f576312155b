"""Runs: who carries them out, who finds the crashed ones, and the use cases that queue them. Opens nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from mlsys.bootstrap.ground import Ground
from mlsys.config import Config
from mlsys.execution.backfill import BackfillHandler, BackfillService
from mlsys.execution.backtest import BacktestHandler, BacktestService
from mlsys.execution.engines import Processes, Threads
from mlsys.execution.handlers import PredictHandler, TrainHandler
from mlsys.execution.limits import Limits
from mlsys.execution.queue import Queue
from mlsys.execution.recovery import Recovery
from mlsys.execution.replay import ReplayHandler
from mlsys.execution.runner import Handler, Runner
from mlsys.execution.service import JobService


@dataclass(frozen=True, kw_only=True)
class Work:
    bodies: Threads | Processes
    limits: Limits
    runner: Runner
    recovery: Recovery
    jobs: JobService
    backfills: BackfillService
    backtests: BacktestService


def build(ground: Ground, *, handlers: Mapping[str, Handler]) -> Work:
    """``handlers``: what runs of these kinds do, in place of what they do otherwise."""
    config, units, tracer = ground.config, ground.units, ground.tracer
    bodies, limits = _bodies(config), _limits(config)
    runner = Runner(
        units=units,
        handlers={**_handlers(ground, bodies), **handlers},
        presence=ground.presence,
        limits=limits,
        tracer=tracer,
        ended=ground.instruments.run,
    )
    queue = Queue(launch=runner.launch, most=config.execution.max_queued, tracer=tracer)
    return Work(
        bodies=bodies,
        limits=limits,
        runner=runner,
        recovery=Recovery(units=units, runner=runner, presence=ground.presence, max_attempts=limits.max_attempts, delay=limits.delay),
        jobs=JobService(units=units, files=ground.files, queue=queue),
        backfills=BackfillService(units=units, clock=ground.clock, queue=queue),
        backtests=BacktestService(units=units, queue=queue, ports=ground.quiet),
    )


def _handlers(ground: Ground, bodies: Threads | Processes) -> dict[str, Handler]:
    units, ports_for, clock, owner = ground.units, ground.ports_for, ground.clock, ground.presence.owner
    return {
        "train": TrainHandler(units=units, ports_for=ports_for, engine=bodies),
        "predict": PredictHandler(units=units, ports_for=ports_for, clock=clock, engine=bodies),
        "replay": ReplayHandler(units=units, ports_for=ports_for, forget=ground.data.reader.forget, engine=bodies),
        "backfill": BackfillHandler(units=units, ports_for=ports_for, clock=clock, owner=owner, engine=bodies),
        "backtest": BacktestHandler(units=units, ports_for=ports_for, engine=bodies),
    }


def _bodies(config: Config) -> Threads | Processes:
    given = config.execution
    return Processes(workers=given.workers, memory_mib=given.memory_mib) if given.engine == "processes" else Threads()


def _limits(config: Config) -> Limits:
    given = config.execution
    return Limits(
        workers=given.workers,
        max_attempts=given.max_attempts,
        retry_seconds=given.retry_seconds,
        alone=() if given.concurrent_trainings else ("train",),
        timeouts=given.timeouts,
    )
