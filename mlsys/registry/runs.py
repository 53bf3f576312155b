"""The run registry: what was asked for, its states, its log lines. Each state change is one statement with its history and event."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from mlsys import errors
from mlsys.clock import Clock
from mlsys.events import types
from mlsys.events.outbox import Outbox
from mlsys.events.types import Event
from mlsys.ids import new_id
from mlsys.records import Json, LogLine, Run, RunChange
from mlsys.registry.pages import Page, page
from mlsys.storage import tables
from mlsys.stored import StoredJson

EVENT_OF: Mapping[str, str | None] = {
    "queued": types.RUN_QUEUED,
    "running": types.RUN_STARTED,
    "cancelling": None,  # on its way: told by the history, and by the event of what it ends in
    "succeeded": types.RUN_SUCCEEDED,
    "failed": types.RUN_FAILED,
    "crashed": types.RUN_CRASHED,
    "cancelled": types.RUN_CANCELLED,
}

_TOLD = """
told AS (
    INSERT INTO run_history (run_id, status, attempt, at, detail)
    SELECT id, :status, attempt, :at, CAST(:detail AS jsonb) FROM moved
), news AS (
    SELECT jsonb_build_object('run_id', id, 'kind', kind, 'model_name', model_name, 'attempt', attempt,
                              'status', CAST(:status AS text)) || CAST(:detail AS jsonb) AS data FROM moved
), event AS (
    INSERT INTO events (type, timestamp, data) SELECT :event, :at, data FROM news WHERE CAST(:event AS text) IS NOT NULL
)
SELECT data FROM news
"""
_ADD = sa.text(
    """
WITH added AS (
    INSERT INTO runs (id, kind, model_name, trigger, spec, created_at)
    VALUES (:id, :kind, :model_name, CAST(:trigger AS jsonb), CAST(:spec AS jsonb), :at) RETURNING seq, id, kind, model_name
), state AS (
    INSERT INTO run_state (run_id, run_seq, status, attempt) SELECT id, seq, :status, 1 FROM added
), moved AS (SELECT id, kind, model_name, 1 AS attempt FROM added),
"""
    + _TOLD
)
_MOVE = sa.text(
    """
WITH moved AS (
    UPDATE run_state s SET
        status = :status,
        attempt = s.attempt + CASE WHEN :status = 'queued' THEN 1 ELSE 0 END,
        owner = CASE :status WHEN 'running' THEN CAST(:owner AS bigint) WHEN 'cancelling' THEN s.owner END,
        started_at = CASE :status WHEN 'running' THEN :at WHEN 'queued' THEN NULL ELSE s.started_at END,
        finished_at = CASE WHEN :status IN ('running', 'queued', 'cancelling') THEN NULL ELSE CAST(:at AS timestamptz) END,
        progress = CASE WHEN :status IN ('running', 'queued') THEN NULL ELSE s.progress END
    FROM runs r
    WHERE r.id = s.run_id AND s.run_id = :id AND s.status = :expected
        AND (CAST(:held_by AS bigint) IS NULL OR s.owner = :held_by)
        AND (CAST(:held_attempt AS integer) IS NULL OR s.attempt = :held_attempt)
    RETURNING r.id, r.kind, r.model_name, s.attempt
),
"""
    + _TOLD
)
_PROGRESS = sa.text(
    "UPDATE run_state SET progress = CAST(:progress AS jsonb) "
    "WHERE run_id = :id AND status = 'running' AND owner = :owner AND attempt = :attempt"
)
_LOG = sa.text("INSERT INTO run_logs (run_id, attempt, at, level, message) VALUES (:id, :attempt, :at, :level, :message)")
_PRESENT = sa.text("SELECT status FROM run_state WHERE run_id = :id FOR UPDATE")
_UNATTENDED = sa.text(
    """
SELECT run_id, attempt, status FROM run_state
WHERE status IN ('running', 'cancelling') AND (owner IS NULL OR owner = :owner OR owner NOT IN (
    SELECT (CAST(objid AS bigint)) FROM pg_locks WHERE locktype = 'advisory' AND classid = :lock_class AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))) ORDER BY run_seq
"""
)
_READERS = sa.text(
    """
SELECT r.id, r.kind, r.model_name, v.model_version_id
FROM runs r
JOIN run_history h ON h.run_id = r.id AND h.status = 'succeeded'
LEFT JOIN model_versions v ON v.run_id = r.id
WHERE r.spec #>> '{definition,source,type}' = 'dataset' AND r.spec #>> '{definition,source,name}' = :dataset
    AND CAST(h.detail #>> '{result,data,start}' AS timestamptz) <= :end
    AND CAST(h.detail #>> '{result,data,end}' AS timestamptz) >= :start
ORDER BY r.seq DESC LIMIT :limit
"""
)

_h = tables.run_history.c
_LAST = sa.select(_h.detail).where(_h.run_id == tables.runs.c.id).order_by(_h.seq.desc()).limit(1).lateral("last")
_STORED: Mapping[str, sa.ColumnElement[str]] = {
    "trigger": sa.cast(tables.runs.c.trigger, sa.Text),
    "spec": sa.cast(tables.runs.c.spec, sa.Text),
    "progress": sa.cast(tables.run_state.c.progress, sa.Text),
    "result": _LAST.c.detail["result"].astext,
    "error": _LAST.c.detail["error"].astext,
}
"""As text: what the driver does not decode can be passed on unread."""
_PLAIN = (
    *(tables.runs.c[name] for name in ("seq", "id", "kind", "model_name", "created_at")),
    *(tables.run_state.c[name] for name in ("run_seq", "status", "attempt", "started_at", "finished_at")),
)
_RUN = (
    sa.select(*_PLAIN, *(column.label(name) for name, column in _STORED.items()))
    .select_from(tables.runs)
    .join(tables.run_state, tables.run_state.c.run_id == tables.runs.c.id)
    .join(_LAST, sa.true())
)
_NAMES = ("id", "kind", "model_name", "status", "attempt", "created_at", "started_at", "finished_at")
_ONE = _RUN.where(tables.runs.c.id == sa.bindparam("id"))


class RunRepository:
    def __init__(self, *, connection: sa.Connection, clock: Clock, outbox: Outbox) -> None:
        self._connection = connection
        self._clock = clock
        self._outbox = outbox

    def add(self, *, kind: str, model_name: str, trigger: Json, spec: Json) -> str:
        """Appends a queued run and returns its id."""
        id = new_id()
        values = {"id": id, "kind": kind, "model_name": model_name, "trigger": json.dumps(trigger), "spec": json.dumps(spec)}
        self._tell(_ADD, "queued", {}, values)
        return id

    def claim(self, id: str, *, owner: int) -> Run | None:
        """Takes a queued run for ``owner``; None when another was faster or it is no longer queued."""
        return self.get(id) if self._move(id, "running", expected="queued", owner=owner) else None

    def finish(self, id: str, status: str, detail: Json, *, owner: int, attempt: int) -> bool:
        """Ends a run that ``owner`` holds in this attempt. False, and nothing is written, when it has been taken away meanwhile."""
        return self._move(id, status, detail, expected="running", held_by=owner, held_attempt=attempt)

    def cancel(self, id: str) -> None:
        """Ends a queued run; asks the process that works on a running one to stop. Raises NotFound, Conflict for one that has ended."""
        status = self._connection.execute(_PRESENT, {"id": id}).scalar_one_or_none()  # waits for a conclusion that is being committed
        if status == "queued":
            self._move(id, "cancelled", expected="queued")
        elif status == "running":
            self._move(id, "cancelling", expected="running")
        elif status != "cancelling":
            run = self.get(id)
            raise errors.Conflict(f"The run {run.id} has {run.status} already; only a run that has not ended can be cancelled.")

    def cancelled(self, id: str, *, attempt: int, owner: int | None = None) -> bool:
        """Ends a run that was asked to stop, once nobody works on it any more."""
        return self._move(id, "cancelled", expected="cancelling", held_by=owner, held_attempt=attempt)

    def crash(self, id: str, *, attempt: int, reason: str) -> bool:
        """Notes that the process of a run died."""
        error = {"error": {"kind": "crashed", "message": reason}}
        return self._move(id, "crashed", error, expected="running", held_attempt=attempt)

    def requeue(self, id: str, *, expected: str, owner: int | None = None) -> bool:
        """Back into the queue as the next attempt: after a crash, or when ``owner`` gives it back."""
        return self._move(id, "queued", expected=expected, held_by=owner)

    def progress(self, id: str, progress: Json, *, owner: int, attempt: int) -> bool:
        """Working state: not durable at once. False when the run is no longer held."""
        self._connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
        values = {"id": id, "progress": json.dumps(progress), "owner": owner, "attempt": attempt}
        return bool(self._connection.execute(_PROGRESS, values).rowcount)

    def log(self, id: str, *, attempt: int, level: str, message: str) -> None:
        self._connection.execute(_LOG, {"id": id, "attempt": attempt, "at": self._clock.now(), "level": level, "message": message})

    def get(self, id: str) -> Run:
        row = self._connection.execute(_ONE, {"id": id}).mappings().one_or_none()
        if row is None:
            raise errors.NotFound(f"There is no run {id!r}; GET /runs lists them.")
        return _run(row)

    def list(self, *, filters: Mapping[str, str], limit: int, cursor: str | None) -> Page[Run]:
        """``filters``: any of kind, status, model_name, trigger (its type), schedule (that it is of)."""
        columns = {
            "kind": tables.runs.c.kind,
            "model_name": tables.runs.c.model_name,
            "status": tables.run_state.c.status,
            "trigger": tables.runs.c.trigger["type"].astext,
            "schedule": tables.runs.c.trigger["schedule"].astext,
        }
        query = _RUN.where(*(columns[name] == value for name, value in filters.items()))
        # the same number in both tables; ordered by the one that is indexed with the status, a rare status costs no walk through all runs
        by = tables.run_state.c.run_seq if "status" in filters else tables.runs.c.seq
        rows, following = page(self._connection, query, by=by, limit=limit, cursor=cursor)
        return Page(items=[_run(row) for row in rows], next_cursor=following)

    def history(self, id: str, *, limit: int, cursor: str | None) -> Page[RunChange]:
        """State changes of a run, newest first."""
        self.get(id)
        query = sa.select(tables.run_history).where(tables.run_history.c.run_id == id)
        rows, following = page(self._connection, query, by=tables.run_history.c.seq, limit=limit, cursor=cursor)
        changes = [RunChange(status=row["status"], attempt=row["attempt"], at=row["at"], detail=row["detail"]) for row in rows]
        return Page(items=changes, next_cursor=following)

    def logs(self, id: str, *, limit: int, cursor: str | None) -> Page[LogLine]:
        self.get(id)
        query = sa.select(tables.run_logs).where(tables.run_logs.c.run_id == id)
        rows, following = page(self._connection, query, by=tables.run_logs.c.seq, limit=limit, cursor=cursor)
        lines = [LogLine(at=row["at"], attempt=row["attempt"], level=row["level"], message=row["message"]) for row in rows]
        return Page(items=lines, next_cursor=following)

    def unattended(self, *, lock_class: int, owner: int) -> Sequence[tuple[str, int, str]]:
        """(run, attempt, status) of what ``owner`` has, and of what owners without a lock of ``lock_class`` have: their process is gone."""
        rows = self._connection.execute(_UNATTENDED, {"lock_class": lock_class, "owner": owner})
        return [(row.run_id, row.attempt, row.status) for row in rows]

    def readers(self, dataset: str, *, start: datetime, end: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        """Succeeded runs that used rows of a data set from ``start`` to ``end`` (included), newest first, with the version each made."""
        values = {"dataset": dataset, "start": start, "end": end, "limit": limit}
        return [dict(row) for row in self._connection.execute(_READERS, values).mappings()]

    def queued(self, *, before: datetime) -> Sequence[str]:
        """Runs that have waited in the queue since before an instant, oldest first."""
        last = (
            sa.select(sa.func.max(tables.run_history.c.at))
            .where(tables.run_history.c.run_id == tables.run_state.c.run_id)
            .scalar_subquery()
        )
        query = sa.select(tables.run_state.c.run_id).where(tables.run_state.c.status == "queued", last <= before)
        return list(self._connection.scalars(query.order_by(tables.run_state.c.run_seq).limit(1000)))

    def _move(
        self,
        id: str,
        status: str,
        detail: Json | None = None,
        *,
        expected: str,
        owner: int | None = None,
        held_by: int | None = None,
        held_attempt: int | None = None,
    ) -> bool:
        values = {"id": id, "expected": expected, "owner": owner, "held_by": held_by, "held_attempt": held_attempt}
        return self._tell(_MOVE, status, detail or {}, values)

    def _tell(self, statement: sa.TextClause, status: str, detail: Json, values: dict[str, Any]) -> bool:
        event, at = EVENT_OF[status], self._clock.now()
        told = {"status": status, "event": event, "detail": json.dumps(detail), "at": at}
        data = self._connection.execute(statement, values | told).scalar_one_or_none()
        if data is not None and event is not None:
            self._outbox.noted(Event(type=event, timestamp=at, data=data))
        return data is not None


def _run(row: sa.RowMapping) -> Run:
    found: dict[str, Any] = {name: row[name] for name in _NAMES}
    for name in _STORED:
        found[name] = None if row[name] is None else StoredJson(row[name])
    return Run(**found)
