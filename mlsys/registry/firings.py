"""What firings lead to: many runs with their history and events in one statement, each firing once at most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from mlsys.clock import Clock
from mlsys.events.outbox import Outbox
from mlsys.events.types import Event
from mlsys.ids import new_id
from mlsys.records import Json
from mlsys.registry.runs import EVENT_OF, PRIORITY

_RECORD = sa.text(
    """
WITH given AS (
    SELECT * FROM jsonb_to_recordset(CAST(:given AS jsonb)) AS g(
        n integer, id text, kind text, model_name text, trigger jsonb, spec jsonb, status text, priority integer, detail jsonb,
        event text, data jsonb)
), added AS (
    INSERT INTO runs (id, kind, model_name, trigger, spec, created_at)
    SELECT id, kind, model_name, trigger, spec, :at FROM given ORDER BY n
    ON CONFLICT ((trigger ->> 'schedule'), (trigger ->> 'fire_time')) WHERE trigger ->> 'fire_time' IS NOT NULL DO NOTHING
    RETURNING seq, id
), state AS (
    INSERT INTO run_state (run_id, run_seq, status, attempt, priority, finished_at)
    SELECT id, a.seq, status, 1, priority, CASE WHEN status <> 'queued' THEN CAST(:at AS timestamptz) END
    FROM added a JOIN given USING (id)
), told AS (
    INSERT INTO run_history (run_id, status, attempt, at, detail)
    SELECT id, status, 1, :at, detail FROM added a JOIN given USING (id) ORDER BY a.seq
), event AS (
    INSERT INTO events (type, timestamp, data)
    SELECT event, :at, data FROM added a JOIN given USING (id) WHERE event IS NOT NULL ORDER BY a.seq
)
SELECT id FROM added
"""
)
_UNFINISHED = sa.text(
    """
SELECT DISTINCT r.trigger ->> 'schedule' FROM run_state s JOIN runs r ON r.id = s.run_id
WHERE s.status IN ('queued', 'running', 'cancelling') AND r.trigger ->> 'schedule' = ANY(:names)
"""
)


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """A run to record. ``status``: queued, or failed or skipped with the reason as ``error`` in ``detail``."""

    kind: str
    model_name: str
    trigger: Json
    spec: Json
    status: str
    detail: Json


class FiringRepository:
    def __init__(self, *, connection: sa.Connection, clock: Clock, outbox: Outbox) -> None:
        self._connection = connection
        self._clock = clock
        self._outbox = outbox

    def unfinished(self, schedules: Sequence[str]) -> set[str]:
        """Which of these schedules have a run that has not ended."""
        return set(self._connection.scalars(_UNFINISHED, {"names": list(schedules)})) if schedules else set()

    def record(self, runs: Sequence[NewRun]) -> dict[int, str]:
        """Appends the runs, all in one statement. Returns the ids of those that were new, by their place among ``runs``.

        One whose schedule and fire time stand in the log already is left out: that firing has happened.
        """
        if not runs:
            return {}
        given = [_data(n, run) for n, run in enumerate(runs)]
        at = self._clock.now()
        new = set(self._connection.scalars(_RECORD, {"given": orjson.dumps(given).decode(), "at": at}))
        for one in given:
            if one["event"] is not None and one["id"] in new:
                self._outbox.noted(Event(type=one["event"], timestamp=at, data=one["data"]))
        return {one["n"]: one["id"] for one in given if one["id"] in new}


def _data(n: int, run: NewRun) -> dict[str, Any]:
    # what a skipped firing means is told by schedule.missed, once for all that one schedule missed
    id, event = new_id(), EVENT_OF.get(run.status)
    told = {"run_id": id, "kind": run.kind, "model_name": run.model_name, "attempt": 1, "status": run.status, **run.detail}
    return {"n": n, "id": id, "priority": PRIORITY.get(run.kind, 50), "event": event, "data": event and told} | vars(run)
