"""All parts of one system, by group, before they are put together."""

from collections.abc import Iterator
from dataclasses import dataclass

from mlsys.bootstrap.ground import Ground
from mlsys.bootstrap.insight import Insight
from mlsys.bootstrap.outward import Outward
from mlsys.bootstrap.timetable import Timetable
from mlsys.bootstrap.work import Work
from mlsys.execution.leader import Leader
from mlsys.registry.schema import Schema
from mlsys.supervision import Mortal, Supervisor
from mlsys.upkeep import Upkeep


@dataclass(frozen=True, kw_only=True)
class Parts:
    ground: Ground
    work: Work
    outward: Outward
    timetable: Timetable
    insight: Insight
    upkeep: Upkeep
    leader: Leader
    supervisor: Supervisor
    schema: Schema

    def threads(self) -> Iterator[Mortal]:
        """All that must not stay dead."""
        database = self.ground.database
        yield self.leader.thread
        yield self.timetable.scheduler
        yield from self.work.recovery.threads
        yield from self.outward.publisher.threads
        yield from self.outward.dispatcher.threads
        yield self.outward.listeners.thread
        yield self.ground.data.housekeeping.thread
        yield self.insight.watch.thread
        yield self.upkeep.keeper.thread
        if database is not None:
            yield database.thread
