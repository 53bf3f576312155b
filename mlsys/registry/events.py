"""The event log: numbers for committed events, reading by number, and how far each sink has read. Events are written by the outbox."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from mlsys.events import types
from mlsys.events.types import SequencedEvent
from mlsys.storage import tables

_e, _s = tables.events.c, tables.event_sequence.c
_LOG = (
    sa.select(_s.sequence, _e.type, _e.timestamp, _e.data)
    .join_from(tables.event_sequence, tables.events, _e.id == _s.event_id)
    .order_by(_s.sequence)
)
# A transaction that began after another's commit had returned got greater ids, and whoever sees it sees the other: so the numbers of one
# batch follow the ids, and what commits late is in a later batch. Its own commit must be durable before anybody can read a number.
_NUMBER = sa.text(
    """
WITH taken AS (
    DELETE FROM event_queue WHERE event_id IN (SELECT event_id FROM event_queue ORDER BY event_id LIMIT :limit) RETURNING event_id
), numbered AS (
    INSERT INTO event_sequence (sequence, event_id)
    SELECT (SELECT coalesce(max(sequence), 0) FROM event_sequence) + row_number() OVER (ORDER BY event_id), event_id FROM taken
    RETURNING sequence
), durable AS (
    SELECT set_config('synchronous_commit', 'on', true)
)
SELECT count(*), pg_notify(:channel, CAST(max(sequence) AS text)),
    (SELECT pg_notify(:queued, '') WHERE EXISTS (SELECT FROM taken t JOIN events e ON e.id = t.event_id WHERE e.type = :run_queued))
FROM numbered, durable HAVING count(*) > 0
"""
)
_LAST = "SELECT coalesce(max(sequence), 0) FROM event_sequence"
_BEGIN = sa.text(f"INSERT INTO event_cursors (sink, sequence, moved_at) SELECT :sink, ({_LAST}), clock_timestamp() ON CONFLICT DO NOTHING")
_MOVE = sa.text("UPDATE event_cursors SET sequence = :sequence, moved_at = clock_timestamp() WHERE sink = :sink")
_UNNUMBERED = sa.text("SELECT e.timestamp FROM event_queue q JOIN events e ON e.id = q.event_id ORDER BY q.event_id LIMIT 1")


class EventLog:
    def __init__(self, *, connection: sa.Connection) -> None:
        self._connection = connection

    def number(self, *, limit: int, channel: str, queued: str) -> int:
        """Gives the next numbers to at most ``limit`` committed events, and says so on ``channel``; how many it were.

        Says on ``queued`` that there are runs among them that wait.

        The caller is the leader and has guarded this transaction (UnitOfWork.guard): numbers are given by one process at a time.
        """
        found: int | None = self._connection.execute(
            _NUMBER, {"limit": limit, "channel": channel, "queued": queued, "run_queued": types.RUN_QUEUED}
        ).scalar_one_or_none()
        return found or 0

    def waiting(self) -> bool:
        """Whether a committed event has no number yet."""
        return bool(self._connection.scalar(sa.select(sa.exists(sa.select(tables.event_queue.c.event_id)))))

    def oldest_unnumbered(self) -> datetime | None:
        """When the first event happened that is committed and has no number yet."""
        return self._connection.execute(_UNNUMBERED).scalar_one_or_none()

    def last(self) -> int:
        """The newest number; 0 for an empty log."""
        return int(self._connection.execute(sa.text(_LAST)).scalar_one())

    def after(
        self, sequence: int, *, until: int | None = None, limit: int = 500, patterns: Sequence[str] = (), model_name: str | None = None
    ) -> list[SequencedEvent]:
        """At most ``limit`` events with a greater number, the lowest first; without ``patterns`` (see types.matches) of every type."""
        query = _LOG.where(_s.sequence > sequence).limit(limit)
        if until is not None:
            query = query.where(_s.sequence <= until)
        if patterns and "*" not in patterns:
            query = query.where(sa.or_(*(_named(pattern) for pattern in patterns)))
        if model_name is not None:
            query = query.where(_e.data["model_name"].astext == model_name)
        return [SequencedEvent(**row) for row in self._connection.execute(query).mappings()]

    def begin(self, sink: str) -> None:
        """A sink that is new here has read all that is numbered now."""
        self._connection.execute(_BEGIN, {"sink": sink})

    def cursor(self, sink: str) -> int | None:
        """The last number that this sink has taken; None before begin()."""
        query = sa.select(tables.event_cursors.c.sequence).where(tables.event_cursors.c.sink == sink)
        return self._connection.execute(query).scalar_one_or_none()

    def move(self, sink: str, sequence: int) -> None:
        self._connection.execute(_MOVE, {"sink": sink, "sequence": sequence})


def _named(pattern: str) -> sa.ColumnElement[bool]:
    return _e.type.startswith(pattern[:-1], autoescape=True) if pattern.endswith(".*") else _e.type == pattern
