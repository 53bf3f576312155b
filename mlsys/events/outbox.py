"""Writes events into the transaction of the change they tell of. Nobody is told here: signals.announce does that after the commit."""

import json
from collections.abc import Sequence

import sqlalchemy as sa

from mlsys.clock import Clock
from mlsys.events.types import Event
from mlsys.records import Json

_INSERT = sa.text("INSERT INTO events (type, timestamp, data) VALUES (:type, :timestamp, CAST(:data AS jsonb))")


_INSERT_ALL = sa.text(
    """
INSERT INTO events (type, timestamp, data)
SELECT type, :timestamp, data FROM jsonb_to_recordset(CAST(:given AS jsonb)) AS g(n integer, type text, data jsonb) ORDER BY n
"""
)


class Outbox:
    def __init__(self, *, connection: sa.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self.written: list[Event] = []

    def append(self, type: str, data: Json) -> None:
        event = Event(type=type, timestamp=self._clock.now(), data=data)
        self._connection.execute(_INSERT, {"type": event.type, "timestamp": event.timestamp, "data": json.dumps(event.data)})
        self.noted(event)

    def append_all(self, type: str, several: Sequence[Json]) -> None:
        """Many of one type in one statement."""
        if several:
            at = self._clock.now()
            given = [{"n": n, "type": type, "data": data} for n, data in enumerate(several)]
            self._connection.execute(_INSERT_ALL, {"timestamp": at, "given": json.dumps(given)})
            self.written += [Event(type=type, timestamp=at, data=data) for data in several]

    def noted(self, event: Event) -> None:
        """Takes note of an event that a statement of the caller's own has written with its change."""
        self.written.append(event)
