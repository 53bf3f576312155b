"""A system whose clock is told the time, with schedules that fire when a test moves it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import front
import sqlalchemy as sa
from serving import until

from mlsys.records import Run
from mlsys.storage import tables
from mlsys.system import System
from mlsys.testing import FrozenClock

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MODELS = {
    "quick": front.definition(checks={"completeness": False}, model={"type": "seasonal_naive"}),
    "fitted": front.definition(checks={"completeness": False}),
}
TRAIN = {"kind": "train", "model_name": "quick", "window": {"start": "-P3650D", "end": "PT0S"}}


@dataclass(frozen=True, kw_only=True)
class Timed:
    system: System
    clock: FrozenClock

    def make(self, name: str, **changes: Any) -> None:
        client = front.app_of(self.system).test_client()
        answer = client.post("/schedules", json={"name": name, "cron": "0 * * * *", **TRAIN, **changes})
        assert answer.status_code == 201, answer.text

    def runs(self, name: str) -> list[Run]:
        """Of one schedule, oldest first."""
        with self.system.services.units() as unit:
            return list(reversed(unit.runs.list(filters={"schedule": name}, limit=200, cursor=None).items))

    def fired(self, name: str) -> list[tuple[str, str]]:
        """(fire time as hours and minutes, status or why not) of each firing."""
        return [(run.trigger["fire_time"][11:16], run.error["kind"] if run.error else run.status) for run in self.runs(name)]

    def settled(self) -> None:
        """Waits until nothing is due and not recorded, and no run is left to work on."""
        running = self.system.scheduler._running
        if running is not None:
            running.wakeup()  # with a clock that stands still it would sleep for a second
        until(lambda: self._open() == 0)

    def _open(self) -> int:
        due = sa.select(sa.func.count()).where(tables.schedule_state.c.next_fire_time <= self.clock.now())
        going = sa.select(sa.func.count()).where(tables.run_state.c.status.in_(["queued", "running", "cancelling"]))
        with self.system.engine.connect() as connection:
            return sum(int(connection.execute(query).scalar_one()) for query in (due, going))

    def move(self, **by: float) -> None:
        """Moves the clock, and lets the scheduler act on it."""
        self.clock.advance(timedelta(**by))
        self.settled()

    def missed(self) -> list[Mapping[str, Any]]:
        """The data of all schedule.missed."""
        with self.system.engine.connect() as connection:
            query = sa.select(tables.events.c.data).where(tables.events.c.type == "schedule.missed").order_by(tables.events.c.id)
            return list(connection.scalars(query))


@contextmanager
def started(folder: Path, url: str, *, clock: FrozenClock, models: Mapping[str, Any] = MODELS, **overrides: Any) -> Iterator[Timed]:
    """On a database of its own, or one that another such system has used before."""
    data = folder / "data"
    if not data.exists():
        data.mkdir(parents=True)
        front.hourly().to_parquet(data / "hourly.parquet")
    system = front.unstarted(folder, models, clock, **{"database.url": url, "data.roots": [str(data)], **overrides})
    system.start()
    try:
        yield Timed(system=system, clock=clock)
    finally:
        system.stop()
