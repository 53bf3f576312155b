"""Numbers about the whole registry for those who watch it: a few indexed queries, whatever the tables hold."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from mlsys.clock import Clock


@dataclass(frozen=True, kw_only=True)
class SinkFigures:
    """``behind``: events that the sink has not taken; the age of the first of them in seconds, 0 where there is none."""

    sink: str
    behind: int
    oldest_seconds: float


@dataclass(frozen=True, kw_only=True)
class ModelFigures:
    """The version in production, since when, and whether the model's accuracy counts as degraded."""

    model_name: str
    model_version_id: str
    version: int
    promoted_at: datetime
    degraded: bool


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Ages in seconds, 0 where there is nothing that could be old. ``lease_seconds``: left of the leader's lease; negative: none leads."""

    runs_queued: int
    runs_running: int
    queued_seconds: float
    running_seconds: float
    schedules_active: int
    overdue_seconds: float
    event_sequence: int
    unsequenced: int
    unsequenced_seconds: float
    lease_seconds: float
    webhooks: Mapping[str, int]
    deliveries_pending: int
    deliveries_retrying: int
    delivery_seconds: float
    sinks: Sequence[SinkFigures]
    models: Sequence[ModelFigures]


_SCALARS = sa.text(
    """
SELECT (SELECT count(*) FROM run_state WHERE status = 'queued') AS runs_queued,
    (SELECT count(*) FROM run_state WHERE status IN ('running', 'cancelling')) AS runs_running,
    (SELECT r.created_at FROM run_state s JOIN runs r ON r.id = s.run_id
        WHERE s.status = 'queued' AND (s.not_before IS NULL OR s.not_before <= clock_timestamp()) ORDER BY s.run_seq LIMIT 1) AS queued_at,
    (SELECT min(started_at) FROM run_state WHERE status IN ('running', 'cancelling')) AS started_at,
    (SELECT count(*) FROM schedule_state WHERE next_fire_time IS NOT NULL) AS schedules_active,
    (SELECT min(next_fire_time) FROM schedule_state WHERE next_fire_time IS NOT NULL) AS due_at,
    (SELECT coalesce(max(sequence), 0) FROM event_sequence) AS event_sequence,
    (SELECT count(*) FROM event_queue) AS unsequenced,
    (SELECT e.timestamp FROM event_queue q JOIN events e ON e.id = q.event_id ORDER BY q.event_id LIMIT 1) AS written_at,
    (SELECT CAST(extract(epoch FROM expires_at - clock_timestamp()) AS float) FROM leadership WHERE role = 'leader') AS lease_seconds
"""
)
_WEBHOOKS = sa.text(
    """
SELECT count(*) FILTER (WHERE s.enabled) AS enabled,
    count(*) FILTER (WHERE NOT s.enabled AND w.definition ->> 'disabled' IS NULL) AS paused,
    count(*) FILTER (WHERE NOT s.enabled AND w.definition ->> 'disabled' IS NOT NULL) AS disabled
FROM webhook_state s JOIN webhooks w ON w.seq = s.seq
"""
)
_PENDING = sa.text(
    """
SELECT count(*) AS pending, count(*) FILTER (WHERE d.tries > 0) AS retrying, min(d.created_at) AS since
FROM deliveries d JOIN webhook_state s ON s.webhook_id = d.webhook_id WHERE d.state = 'pending' AND s.enabled
"""
)
# the sequence has no gap: what a sink has not taken begins with the next number
_SINKS = sa.text(
    """
SELECT c.sink, (SELECT coalesce(max(sequence), 0) FROM event_sequence) - c.sequence AS behind,
    (SELECT e.timestamp FROM event_sequence q JOIN events e ON e.id = q.event_id WHERE q.sequence = c.sequence + 1) AS since
FROM event_cursors c WHERE c.sink = ANY(:sinks) ORDER BY c.sink
"""
)
_MODELS = sa.text(
    """
SELECT m.name AS model_name, p.model_version_id, v.version, p.created_at AS promoted_at, coalesce(e.state = 'degraded', false) AS degraded
FROM (SELECT DISTINCT name FROM models) m
CROSS JOIN LATERAL (
    SELECT model_version_id, created_at FROM promotions WHERE model_name = m.name ORDER BY sequence DESC LIMIT 1
) p
JOIN model_versions v ON v.model_version_id = p.model_version_id
LEFT JOIN LATERAL (SELECT state FROM accuracy_episodes WHERE model_name = m.name ORDER BY seq DESC LIMIT 1) e ON true
ORDER BY m.name
"""
)


class FigureRepository:
    def __init__(self, *, connection: sa.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def read(self, *, sinks: Collection[str]) -> Figures:
        """``sinks``: those that there are; cursors of others stay behind in the database."""
        scalars = self._connection.execute(_SCALARS).one()
        pending = self._connection.execute(_PENDING).one()
        return Figures(
            runs_queued=scalars.runs_queued,
            runs_running=scalars.runs_running,
            queued_seconds=self._age(scalars.queued_at),
            running_seconds=self._age(scalars.started_at),
            schedules_active=scalars.schedules_active,
            overdue_seconds=self._age(scalars.due_at),
            event_sequence=scalars.event_sequence,
            unsequenced=scalars.unsequenced,
            unsequenced_seconds=self._age(scalars.written_at),
            lease_seconds=scalars.lease_seconds,
            webhooks=dict(self._connection.execute(_WEBHOOKS).mappings().one()),
            deliveries_pending=pending.pending,
            deliveries_retrying=pending.retrying,
            delivery_seconds=self._age(pending.since),
            sinks=[
                SinkFigures(sink=row.sink, behind=max(0, row.behind), oldest_seconds=self._age(row.since))
                for row in self._connection.execute(_SINKS, {"sinks": list(sinks)})
            ],
            models=[ModelFigures(**row) for row in self._connection.execute(_MODELS).mappings()],
        )

    def _age(self, at: datetime | None) -> float:
        return 0.0 if at is None else max(0.0, (self._clock.now() - at).total_seconds())
