"""Writes events into the transaction of the change they tell of. Nobody is told here: signals.announce does that after the commit."""

import json

import sqlalchemy as sa

from mlsys.clock import Clock
from mlsys.events.types import Event
from mlsys.records import Json

_INSERT = sa.text("INSERT INTO events (type, timestamp, data) VALUES (:type, :timestamp, CAST(:data AS jsonb))")


class Outbox:
    def __init__(self, *, connection: sa.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self.written: list[Event] = []

    def append(self, type: str, data: Json) -> None:
        event = Event(type=type, timestamp=self._clock.now(), data=data)
        self._connection.execute(_INSERT, {"type": event.type, "timestamp": event.timestamp, "data": json.dumps(event.data)})
        self.noted(event)

    def noted(self, event: Event) -> None:
        """Takes note of an event that a statement of the caller's own has written with its change."""
        self.written.append(event)
