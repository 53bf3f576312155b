"""The parts of one process that lead, number events and hand them on, for tests of them by themselves."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from mlsys.clock import SystemClock
from mlsys.events import types
from mlsys.events.signals import Signals
from mlsys.events.sinks import EventSink
from mlsys.execution.leader import Leader
from mlsys.publishing.publisher import Publisher
from mlsys.registry.unit_of_work import UnitOfWork, Units
from mlsys.storage.database import make_engine


@dataclass(kw_only=True)
class Node:
    engine: sa.Engine
    leader: Leader
    publisher: Publisher
    units: Units


@contextmanager
def running(url: str, sinks: Mapping[str, EventSink] | None = None) -> Iterator[Node]:
    """A second one on the same database is a standby."""
    engine, signals, clock = make_engine(url, pool_size=14, statement_timeout_seconds=30), Signals(), SystemClock()
    units: Units = partial(UnitOfWork, engine=engine, clock=clock, signals=signals)
    leader = Leader(engine=engine, lease_seconds=2)
    given: dict[str, Any] = {"sinks": sinks or {}, "queued": lambda: None}
    publisher = Publisher(engine=engine, units=units, signals=signals, epoch=lambda: leader.epoch, clock=clock, **given)
    leader.start()
    publisher.start()
    try:
        yield Node(engine=engine, leader=leader, publisher=publisher, units=units)
    finally:
        publisher.stop()
        leader.stop()
        engine.dispose()


def append(units: Units, *names: str, type: str = types.RUN_QUEUED) -> None:
    """Events in one transaction, told apart by ``name``."""
    with units() as unit:
        for name in names:
            unit.events.append(type, {"name": name})
        unit.commit()
