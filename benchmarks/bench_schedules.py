"""A thousand schedules due in the same second, beside APScheduler's own PostgreSQL store, and a start with ten thousand. Prints one table.

Lateness is from the second they are due to the instant at which another session sees the last run queued. The peer does less: its store
moves a thousand jobs on, each to a pool of two threads; there is no run, no history, no event. Its lateness is that of the last job.
"""

import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from hammer import Connection
from harness import Report, Server, clock, folder, median, ms, serving

from mlsys.clock import SystemClock
from mlsys.events.signals import Signals
from mlsys.records import Schedule
from mlsys.registry.unit_of_work import UnitOfWork
from mlsys.storage.database import make_engine
from mlsys.storage.embedded import EmbeddedPostgres

DUE, FEW, MANY, MODELS, ROUNDS, STARTS = 1_000, 50, 10_000, 20, 3, 5
LATEST, LONGER = 0.3, 2.0
SAMPLE = {
    "source": {"type": "parquet", "path": "pv_power.parquet"},
    "timestamp": "timestamp",
    "target": "power",
    "model": {"type": "seasonal_naive"},
}
DECLARED = {f"model_{number}": SAMPLE for number in range(MODELS)}
STATE = "UPDATE schedule_state SET next_fire_time = :at"
QUEUED = "SELECT count(*) FROM runs WHERE trigger ->> 'type' = 'schedule'"

done: list[float] = []
complete = threading.Event()


def main() -> int:
    report = Report(f"Schedules: {DUE:,} due in one second, and a start with {MANY:,}")
    with folder() as homes:
        mine = [_round(homes / f"due{number}") for number in range(ROUNDS)]
        theirs = _peer(homes / "due0")
        what = f"{DUE:,} due at once, of {MODELS} models: the last one queued, after (median of {ROUNDS}; peer: APScheduler's store)"
        told = f"{ms(median(mine))} (worst {ms(max(mine))})"
        report.add(what, told, ms(theirs), median(mine) / theirs, f"<= {LATEST * 1000:.0f} ms", median(mine) <= LATEST)
        _many(report, homes)
    return report.finish()


def _round(home: Path) -> float:
    with serving(home, models=DECLARED) as server:
        engine = _engine(server)
        _fill(engine, DUE)
        late = _lateness(engine)
        _all_later(engine)
        engine.dispose()
        return late


def _engine(server: Server) -> sa.Engine:
    return make_engine(EmbeddedPostgres(home=server.home).url, pool_size=4, statement_timeout_seconds=60)


def _fill(engine: sa.Engine, count: int) -> None:
    """Schedules as the API makes them, all in one transaction, due on the first of January."""
    with UnitOfWork(engine=engine, clock=SystemClock(), signals=Signals()) as unit:
        for number in range(count):
            schedule = Schedule(
                name=f"schedule-{number}",
                kind="train",
                model_name=f"model_{number % MODELS}",
                cron="0 0 1 1 *",
                timezone="Europe/Amsterdam",
                window={"start": "-P365D", "end": "PT0S"},
                params={},
                misfire="run_once",
                overlap="skip",
                enabled=True,
            )
            unit.schedules.define(schedule, declared=False, next_fire_time=datetime(2100, 1, 1, tzinfo=UTC))
        unit.commit()


def _next_second(ahead: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=ahead)


def _lateness(engine: sa.Engine) -> float:
    at = _next_second(10)  # by then a fresh server has made its imports
    with engine.begin() as connection:
        connection.execute(sa.text(STATE), {"at": at})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while connection.execute(sa.text(QUEUED)).scalar_one() < DUE:
            if datetime.now(UTC) > at + timedelta(seconds=30):
                raise RuntimeError("the schedules did not fire")
            time.sleep(0.02)
    return (datetime.now(UTC) - at).total_seconds()


def _all_later(engine: sa.Engine) -> None:
    """Ends what is queued, and lets nothing fire: the peer shall have the machine to itself."""
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE run_state SET status = 'cancelled' WHERE status = 'queued'"))
        connection.execute(sa.text(STATE), {"at": datetime(2100, 1, 1, tzinfo=UTC)})


def note() -> None:
    """What a job of the peer does."""
    done.append(time.time())
    if len(done) == DUE:
        complete.set()


def _peer(home: Path) -> float:
    with serving(home, models=DECLARED) as server:
        engine = _engine(server)
        late = _peer_lateness(engine)
        engine.dispose()
        return late


def _peer_lateness(engine: sa.Engine) -> float:
    store, pool = SQLAlchemyJobStore(engine=engine), ThreadPoolExecutor(2)
    scheduler = BackgroundScheduler(jobstores={"default": store}, executors={"default": pool}, timezone="UTC")
    scheduler.start(paused=True)
    at = _next_second(40)
    trigger = CronTrigger(month=1, day=1, timezone="UTC")
    for number in range(DUE):
        scheduler.add_job(note, trigger, id=str(number), next_run_time=at, misfire_grace_time=None)
    if datetime.now(UTC) >= at - timedelta(seconds=0.5):
        raise RuntimeError("the machine is too busy to set the peer up in time")
    scheduler.resume()
    complete.wait(60)
    late = max(done) - at.timestamp()
    scheduler.shutdown()
    return late


def _many(report: Report, homes: Path) -> None:
    few, full = homes / "few", homes / "full"
    for home, count in ((few, FEW), (full, MANY)):
        with serving(home, models=DECLARED) as server:
            engine = _engine(server)
            _fill(engine, count)
            engine.dispose()
    starts: dict[Path, list[float]] = {few: [], full: []}
    for _ in range(STARTS):
        for home in starts:
            with serving(home, models=DECLARED) as server:
                starts[home].append(server.started)
    none, all = (median(starts[home]) for home in (few, full))
    report.add(
        f"start with {MANY:,} schedules (peer: {FEW}; median of {STARTS})",
        f"{all:.2f} s",
        f"{none:.2f} s",
        all / none,
        f"+ {LONGER:.0f} s at most",
        all - none <= LONGER,
    )
    with serving(few, models=DECLARED) as small, serving(full, models=DECLARED) as large:
        for path in ("/schedules?limit=50", "/health/"):
            calls: list[Callable[[], Any]] = [partial(Connection(server.port).get, path) for server in (small, large)]
            found = [median([clock(call) for _ in range(50)][5:]) for call in calls]
            report.add(f"GET {path} with {MANY:,} schedules (peer: {FEW})", ms(found[1]), ms(found[0]))


if __name__ == "__main__":
    sys.exit(main())
