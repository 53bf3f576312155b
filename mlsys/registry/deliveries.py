"""Deliveries: a row per (event, endpoint), made from the numbered events, claimed by one process at a time, each attempt noted.

An endpoint's rows are made up to its own place in the sequence, at most a few hundred ahead of what has arrived: one that is stopped or
dead costs no rows, and misses nothing when it comes back. A claim names the process that holds it; a sweep of any other frees what a dead
one held. What became of them is read in delivery_log.py.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from mlsys.clock import Clock, rfc3339
from mlsys.registry.webhooks import Sealed

State = Literal["pending", "delivered", "failed"]


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """An event on its way to an endpoint. ``tries``: attempts of this round before; ``data``: JSON text."""

    id: int
    webhook_id: str
    url: str = field(repr=False)
    secrets: tuple[Sealed, ...] = field(repr=False)
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


def _claimed(row: dict[str, Any], key_id: str) -> Claimed:
    secrets = tuple(Sealed(text=text, key_id=key_id) for text in row.pop("secrets"))
    return Claimed(secrets=secrets, **row)


def _given(one: Attempted) -> dict[str, Any]:
    next = None if one.next_attempt_at is None else rfc3339(one.next_attempt_at)
    told = {"id": one.id, "at": rfc3339(one.at), "status": one.status, "latency_ms": one.latency_ms, "error": one.error}
    return told | {"state": one.state, "next_attempt_at": next}
