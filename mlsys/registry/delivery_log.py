"""The log of deliveries: what was sent to whom, each attempt, and how long it is kept. How they come about is in deliveries.py."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from mlsys import errors
from mlsys.clock import Clock
from mlsys.registry.pages import Page, page
from mlsys.storage import tables


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A noted attempt: ``attempt`` 1, 2, 3 ..; ``status`` None: there was no HTTP answer, and ``error`` says why."""

    attempt: int
    at: datetime
    status: int | None
    latency_ms: float
    error: str | None
    next_attempt_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """``attempts``: all that were made, oldest first."""

    id: int
    webhook_id: str
    sequence: int
    type: str
    state: str
    tries: int
    next_attempt_at: datetime | None
    created_at: datetime
    finished_at: datetime | None
    attempts: tuple[Attempt, ...]


_d, _a, _q, _e = tables.deliveries.c, tables.delivery_attempts.c, tables.event_sequence.c, tables.events.c
_IS_OLD = """(state = 'delivered' AND finished_at < :before)
        OR (created_at < :before AND webhook_id NOT IN (SELECT webhook_id FROM webhook_state))"""
_OLD = sa.text(f"SELECT count(*) FROM deliveries WHERE {_IS_OLD}")
_PURGE = sa.text(
    f"""
WITH old AS (
    SELECT id FROM deliveries WHERE {_IS_OLD}
    ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
), attempts AS (
    DELETE FROM delivery_attempts WHERE delivery_id IN (SELECT id FROM old)
)
DELETE FROM deliveries WHERE id IN (SELECT id FROM old)
"""
)
_WAITING = sa.text(
    """
SELECT count(*) AS pending, count(*) FILTER (WHERE d.tries > 0) AS retrying,
    CAST(extract(epoch FROM :now - min(d.created_at)) AS float) AS oldest
FROM deliveries d JOIN webhook_state s ON s.webhook_id = d.webhook_id WHERE d.state = 'pending' AND s.enabled
"""
)
_NAMES = ("id", "webhook_id", "sequence", "state", "tries", "next_attempt_at", "created_at", "finished_at")
_LISTED = (
    sa.select(*(_d[name] for name in _NAMES), _e.type)
    .join_from(tables.deliveries, tables.event_sequence, _q.sequence == _d.sequence)
    .join(tables.events, _e.id == _q.event_id)
)


class DeliveryLog:
    def __init__(self, *, connection: sa.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def get(self, id: int) -> Delivery:
        rows = list(self._connection.execute(_LISTED.where(_d.id == id)).mappings())
        if not rows:
            raise errors.NotFound(f"There is no delivery {id}; GET /webhooks/ID/deliveries lists those that are kept.")
        return self._with_attempts(rows)[0]

    def list(self, webhook_id: str, *, state: str | None, limit: int, cursor: str | None) -> Page[Delivery]:
        """The newest event first."""
        query = _LISTED.where(_d.webhook_id == webhook_id)
        if state is not None:
            query = query.where(_d.state == state)
        rows, following = page(self._connection, query, by=_d.sequence, limit=limit, cursor=cursor)
        return Page(items=self._with_attempts(rows), next_cursor=following)

    def waiting(self) -> tuple[int, int, float | None]:
        """Of enabled endpoints: how many are on their way, how many of those for another try, and the age of the oldest in seconds."""
        row = self._connection.execute(_WAITING, {"now": self._clock.now()}).one()
        return row.pending, row.retrying, row.oldest

    def _with_attempts(self, rows: Sequence[sa.RowMapping]) -> Sequence[Delivery]:
        query = sa.select(tables.delivery_attempts).where(_a.delivery_id.in_([row["id"] for row in rows]))
        made: dict[int, list[Attempt]] = defaultdict(list)
        for found in self._connection.execute(query.order_by(_a.delivery_id, _a.attempt)).mappings():
            told = dict(found)
            made[told.pop("delivery_id")].append(Attempt(**told))
        return [Delivery(**row, attempts=tuple(made[row["id"]])) for row in rows]

    def succeeded_since(self, webhook_id: str, instant: datetime) -> bool:
        """Whether anything has arrived there since."""
        query = sa.exists().where(_d.webhook_id == webhook_id, _d.state == "delivered", _d.finished_at >= instant)
        return bool(self._connection.scalar(sa.select(query)))

    def old(self, *, before: datetime) -> int:
        """How many rows purge() would remove, all in all."""
        return int(self._connection.execute(_OLD, {"before": before}).scalar_one())

    def purge(self, *, before: datetime, limit: int) -> int:
        """Removes what arrived before an instant, and what was meant for endpoints that are no more; how many rows."""
        return self._connection.execute(_PURGE, {"before": before, "limit": limit}).rowcount
