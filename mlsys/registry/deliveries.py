"""Deliveries: a row per (event, endpoint), made from the numbered events, claimed by one process at a time, each attempt noted.

An endpoint's rows are made up to its own place in the sequence, at most a few hundred ahead of what has arrived: one that is stopped or
dead costs no rows, and misses nothing when it comes back. A claim names the process that holds it; a sweep of any other frees what a dead
one held.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from mlsys import errors
from mlsys.clock import Clock, rfc3339
from mlsys.registry.pages import Page, page
from mlsys.registry.webhooks import Sealed
from mlsys.storage import tables

State = Literal["pending", "delivered", "failed"]


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """An event on its way to an endpoint. ``tries``: attempts of this round before; ``data``: JSON text."""

    id: int
    webhook_id: str
    url: str
    secrets: tuple[Sealed, ...]
    sequence: int
    type: str
    timestamp: datetime
    data: str
    tries: int
    first_attempt_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Attempted:
    """What came of an attempt. ``status`` None: no HTTP answer; ``state`` afterwards; ``next_attempt_at`` None: none is due."""

    id: int
    at: datetime
    status: int | None
    latency_ms: float
    error: str | None
    state: State
    next_attempt_at: datetime | None


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
_MATCHES = """
EXISTS (SELECT FROM jsonb_array_elements_text({w}.definition -> 'events') p
        WHERE p = '*' OR p = e.type OR (right(p, 2) = '.*' AND starts_with(e.type, left(p, -1))))
    AND ({w}.definition ->> 'model_name' IS NULL OR e.data ->> 'model_name' = {w}.definition ->> 'model_name')
"""
_ADVANCE = sa.text(
    f"""
WITH last AS (SELECT coalesce(max(sequence), 0) AS sequence FROM event_sequence),
behind AS MATERIALIZED (
    SELECT s.webhook_id, s.sequence, least(s.sequence + :step, last.sequence) AS until, w.definition
    FROM last, webhook_state s JOIN webhooks w ON w.seq = s.seq
    WHERE s.enabled AND s.sequence < last.sequence
        AND (SELECT count(*) FROM (
            SELECT FROM deliveries d WHERE d.webhook_id = s.webhook_id AND d.state = 'pending' LIMIT :most
        ) under_way) < :most
    ORDER BY s.sequence LIMIT 1000 FOR UPDATE OF s SKIP LOCKED
), made AS (
    INSERT INTO deliveries (webhook_id, sequence, state, attempts, tries, next_attempt_at, created_at)
    SELECT b.webhook_id, q.sequence, 'pending', 0, 0, CAST(:now AS timestamptz), CAST(:now AS timestamptz)
    FROM behind b JOIN event_sequence q ON q.sequence > b.sequence AND q.sequence <= b.until JOIN events e ON e.id = q.event_id
    WHERE {_MATCHES.format(w="b")}
    ORDER BY q.sequence, b.webhook_id
    ON CONFLICT (webhook_id, sequence) DO UPDATE
        SET state = 'pending', tries = 0, first_attempt_at = NULL, finished_at = NULL, next_attempt_at = excluded.next_attempt_at
        WHERE deliveries.state <> 'pending'
)
UPDATE webhook_state s SET sequence = b.until FROM behind b WHERE b.webhook_id = s.webhook_id
"""
)
_CLAIM = sa.text(
    """
WITH room AS (SELECT * FROM unnest(CAST(:busy AS text[]), CAST(:rooms AS bigint[])) AS r(webhook_id, room)),
picked AS MATERIALIZED (
    SELECT d.id FROM webhook_state s LEFT JOIN room r ON r.webhook_id = s.webhook_id
    CROSS JOIN LATERAL (
        SELECT d.id FROM deliveries d
        WHERE d.webhook_id = s.webhook_id AND d.state = 'pending' AND d.owner IS NULL AND d.next_attempt_at <= :now
        ORDER BY d.next_attempt_at, d.sequence LIMIT coalesce(r.room, :room) FOR UPDATE SKIP LOCKED
    ) d
    WHERE s.enabled AND coalesce(r.room, :room) > 0
        AND EXISTS (SELECT FROM webhook_secrets x WHERE x.webhook_id = s.webhook_id AND x.key_id = :key_id AND x.expires_at IS NULL)
    ORDER BY s.webhook_id <= :after, s.webhook_id LIMIT :limit
), claimed AS (
    UPDATE deliveries d SET owner = :owner FROM picked p WHERE d.id = p.id
    RETURNING d.id, d.webhook_id, d.sequence, d.tries, d.first_attempt_at
)
SELECT c.*, w.definition ->> 'url' AS url, e.type, e.timestamp, CAST(e.data AS text) AS data, x.secrets
FROM claimed c
JOIN webhook_state s ON s.webhook_id = c.webhook_id
JOIN webhooks w ON w.seq = s.seq
JOIN event_sequence q ON q.sequence = c.sequence
JOIN events e ON e.id = q.event_id
CROSS JOIN LATERAL (
    SELECT array_agg(x.sealed ORDER BY x.seq DESC) AS secrets FROM webhook_secrets x
    WHERE x.webhook_id = c.webhook_id AND x.key_id = :key_id AND (x.expires_at IS NULL OR x.expires_at > :now)
) x
ORDER BY c.webhook_id <= :after, c.webhook_id, c.sequence
"""
)
_RECORD = sa.text(
    """
WITH given AS (
    SELECT * FROM jsonb_to_recordset(CAST(:given AS jsonb)) AS g(id bigint, at timestamptz, status integer, latency_ms real, error text,
                                                                state text, next_attempt_at timestamptz)
), recorded AS (
    UPDATE deliveries d SET state = g.state, attempts = d.attempts + 1, tries = d.tries + 1, owner = NULL,
        next_attempt_at = g.next_attempt_at, first_attempt_at = coalesce(d.first_attempt_at, g.at),
        finished_at = CASE WHEN g.state <> 'pending' THEN g.at END
    FROM given g WHERE d.id = g.id AND d.owner = :owner
    RETURNING d.id, d.attempts
)
INSERT INTO delivery_attempts (delivery_id, attempt, at, status, latency_ms, error, next_attempt_at)
SELECT g.id, r.attempts, g.at, g.status, g.latency_ms, g.error, g.next_attempt_at FROM given g JOIN recorded r ON r.id = g.id
"""
)
_RETURN = sa.text("UPDATE deliveries SET owner = NULL WHERE id = ANY(:ids) AND owner = :owner")
_FREE = sa.text(
    """
UPDATE deliveries SET owner = NULL WHERE state = 'pending' AND owner IS NOT NULL AND CASE
    WHEN owner = :owner THEN id <> ALL(CAST(:held AS bigint[]))
    ELSE owner <> ALL(CAST(:alive AS bigint[])) END
"""
)
_REVIVE = sa.text(
    """
UPDATE deliveries SET tries = 0, first_attempt_at = NULL, next_attempt_at = :now
WHERE webhook_id = :webhook_id AND state = 'pending' AND sequence > :sequence
"""
)
_AGAIN = sa.text(
    """
UPDATE deliveries SET state = 'pending', tries = 0, first_attempt_at = NULL, finished_at = NULL, next_attempt_at = :now WHERE id = :id
"""
)
_BACK = sa.text("UPDATE webhook_state SET sequence = least(sequence, :sequence) WHERE webhook_id = :id")
_AFTER = sa.text(
    f"""
SELECT count(*) FROM webhook_state s JOIN webhooks w ON w.seq = s.seq, event_sequence q JOIN events e ON e.id = q.event_id
WHERE s.webhook_id = :id AND q.sequence > :sequence AND {_MATCHES.format(w="w")}
"""
)
_PURGE = sa.text(
    """
WITH old AS (
    SELECT id FROM deliveries WHERE (state = 'delivered' AND finished_at < :before)
        OR (created_at < :before AND webhook_id NOT IN (SELECT webhook_id FROM webhook_state))
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


class DeliveryRepository:
    def __init__(self, *, connection: sa.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def may_be_lost(self) -> None:
        """With the database itself, what this transaction writes: it would be done once more."""
        self._connection.execute(sa.text("SET LOCAL synchronous_commit = off"))

    def advance(self, *, step: int, most: int) -> bool:
        """Makes the rows of the next ``step`` events, for each endpoint with fewer than ``most`` under way. Whether any moved on."""
        return bool(self._connection.execute(_ADVANCE, {"step": step, "most": most, "now": self._clock.now()}).rowcount)

    def claim(self, *, owner: int, key_id: str, room: int, rooms: Mapping[str, int], after: str, limit: int) -> Sequence[Claimed]:
        """Takes due deliveries for ``owner``, at most ``room`` for an endpoint, or as many as ``rooms`` says of it, and ``limit`` in all.

        Endpoints whose id follows ``after`` come first, so that each has its turn; those whose secret ``key_id`` does not open are left
        to other processes.
        """
        values = {"owner": owner, "key_id": key_id, "room": room, "after": after, "limit": limit, "now": self._clock.now()}
        rows = self._connection.execute(_CLAIM, values | {"busy": list(rooms), "rooms": list(rooms.values())})
        return [_claimed(dict(row), key_id) for row in rows.mappings()]

    def record(self, attempted: Iterable[Attempted], *, owner: int) -> None:
        """Notes attempts and lets go of their deliveries; one that has been taken from ``owner`` meanwhile is left to its new one."""
        self._connection.execute(_RECORD, {"given": json.dumps([_given(one) for one in attempted]), "owner": owner})

    def hand_back(self, ids: Iterable[int], *, owner: int) -> None:
        """Lets go of claims that nothing was done about."""
        self._connection.execute(_RETURN, {"ids": list(ids), "owner": owner})

    def free(self, *, owner: int, held: Iterable[int], alive: Iterable[int]) -> int:
        """Frees what ``owner`` has claimed but does not hold, and claims of others that are not ``alive``."""
        values = {"owner": owner, "held": list(held), "alive": list(alive)}
        return self._connection.execute(_FREE, values).rowcount

    def succeeded_since(self, webhook_id: str, instant: datetime) -> bool:
        """Whether anything has arrived there since."""
        query = sa.exists().where(_d.webhook_id == webhook_id, _d.state == "delivered", _d.finished_at >= instant)
        return bool(self._connection.scalar(sa.select(query)))

    def revive(self, webhook_id: str, *, after: int = 0) -> None:
        """Whatever waits for this endpoint, of events after a sequence, is due now, and its retries are counted anew."""
        self._connection.execute(_REVIVE, {"webhook_id": webhook_id, "sequence": after, "now": self._clock.now()})

    def again(self, id: int) -> None:
        """One more time, with all its retries."""
        self._connection.execute(_AGAIN, {"id": id, "now": self._clock.now()})

    def replay(self, webhook_id: str, *, after: int) -> int:
        """Puts an endpoint back to its place after an event; how many events it gets. What waits for another try is due now."""
        count = int(self._connection.execute(_AFTER, {"id": webhook_id, "sequence": after}).scalar_one())
        self.revive(webhook_id, after=after)
        self._connection.execute(_BACK, {"id": webhook_id, "sequence": after})
        return count

    def purge(self, *, before: datetime, limit: int) -> int:
        """Removes what arrived before an instant, and what was meant for endpoints that are no more; how many rows."""
        return self._connection.execute(_PURGE, {"before": before, "limit": limit}).rowcount

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


def _claimed(row: dict[str, Any], key_id: str) -> Claimed:
    secrets = tuple(Sealed(text=text, key_id=key_id) for text in row.pop("secrets"))
    return Claimed(secrets=secrets, **row)


def _given(one: Attempted) -> dict[str, Any]:
    next = None if one.next_attempt_at is None else rfc3339(one.next_attempt_at)
    told = {"id": one.id, "at": rfc3339(one.at), "status": one.status, "latency_ms": one.latency_ms, "error": one.error}
    return told | {"state": one.state, "next_attempt_at": next}
