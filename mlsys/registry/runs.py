"""The run registry: what was asked for, its states, its log lines, and the queue of those that wait."""

import json
from collections.abc import Collection, Mapping, Sequence
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
from mlsys.registry import run_statements as statements
from mlsys.registry.pages import Page, page
from mlsys.registry.room import ATTEMPT, Room
from mlsys.storage import tables
from mlsys.storage.prepared import Prepared
from mlsys.stored import StoredJson

PRIORITY = {"predict": 70, "train": 50, "replay": 40, "backtest": 30, "backfill": 30}
"""Of a run that names none, 0 to 100: what somebody waits for goes before what takes long."""
EVENT_OF: Mapping[str, str | None] = {
    "queued": types.RUN_QUEUED,
    "running": types.RUN_STARTED,
    "cancelling": None,  # on its way: told by the history, and by the event of what it ends in
    "succeeded": types.RUN_SUCCEEDED,
    "failed": types.RUN_FAILED,
    "crashed": types.RUN_CRASHED,
    "cancelled": types.RUN_CANCELLED,
}

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
    *(tables.run_state.c[name] for name in ("run_seq", "status", "attempt", "started_at", "finished_at", "priority")),
)
_RUN = (
    sa.select(*_PLAIN, *(column.label(name) for name, column in _STORED.items()))
    .select_from(tables.runs)
    .join(tables.run_state, tables.run_state.c.run_id == tables.runs.c.id)
    .join(_LAST, sa.true())
)
_NAMES = ("id", "kind", "model_name", "status", "attempt", "created_at", "started_at", "finished_at", "priority")
_ONE = _RUN.where(tables.runs.c.id == sa.bindparam("id"))


class RunRepository:
    def __init__(self, *, connection: sa.Connection, clock: Clock, outbox: Outbox) -> None:
        self._connection = connection
        self._clock = clock
        self._outbox = outbox

    def add(self, *, kind: str, model_name: str, trigger: Json, spec: Json, priority: int | None = None) -> str:
        """Appends a queued run and returns its id. ``priority``: the higher, the sooner; None: that of its kind."""
        return self.append(kind=kind, model_name=model_name, trigger=trigger, spec=spec, priority=priority).id

    def append(
        self, *, kind: str, model_name: str, trigger: Json, spec: Json, priority: int | None = None, room: Room | None = None
    ) -> Run:
        """As add(). Raises Unavailable when there is no ``room`` for another run that waits (None: any number may)."""
        id, priority = new_id(), PRIORITY.get(kind, 50) if priority is None else priority
        written = {"trigger": json.dumps(trigger), "spec": json.dumps(spec)}
        about = {"id": id, "kind": kind, "model_name": model_name, "priority": priority}
        added = self._added(about | written, room)
        return _begun(about | written, status="queued", attempt=1, created_at=added["at"], started_at=None)

    def _added(self, values: dict[str, Any], room: Room | None) -> dict[str, Any]:
        any_number = values | {"first": None, "last": None}
        if room is not None:
            first, last = room.numbers
            row = self._tell(statements.ADD, "queued", {}, values | {"first": first, "last": last}, after=ATTEMPT)
            if row is not None:
                return row
            room.count(self._connection)
        row = self._tell(statements.ADD, "queued", {}, any_number)
        assert row is not None
        return row

    def claim(
        self,
        *,
        owner: int,
        among: Collection[str] | None = None,
        apart: Collection[str] = (),
        alone: Collection[str] = (),
        durable: bool = False,
    ) -> Run | None:
        """Takes the queued run that comes first for ``owner``; None when there is none.

        Not ``durable`` at once, unless something else in the transaction has to be: lost, the run is queued again.
        ``among``: only one of these; ``apart``: none of these; ``alone``: kinds of which a model has one running at a time.
        Raises Conflict when another process claimed such a one at the same instant: try again.
        """
        values = {"owner": owner, "among": None if among is None else list(among), "apart": list(apart), "alone": list(alone)}
        try:
            settings = statements.IN_ORDER if durable else statements.IN_ORDER + statements.NOT_DURABLE
            row = self._tell(statements.CLAIM, "running", {}, values, after=settings)
        except sa.exc.IntegrityError:
            raise errors.Conflict("A run of the same model was claimed at the same instant.") from None
        if row is None:
            return None
        return _begun(row, status="running", attempt=row["attempt"], created_at=row["created_at"], started_at=row["at"])

    def finish(self, id: str, status: str, detail: Json, *, owner: int, attempt: int) -> bool:
        """Ends a run that ``owner`` holds in this attempt. False, and nothing is written, when it has been taken away meanwhile."""
        return self._move(id, status, detail, expected="running", held_by=owner, held_attempt=attempt)

    def cancel(self, id: str) -> None:
        """Ends a queued run; asks the process that works on a running one to stop. Raises NotFound, Conflict for one that has ended."""
        status = self._connection.execute(
            statements.PRESENT, {"id": id}
        ).scalar_one_or_none()  # waits for a conclusion that is being committed
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

    def crash(self, id: str, *, attempt: int, reason: str, final: bool = False) -> bool:
        """Notes that the process of a run died. ``final``: it will not be tried again; the event says so."""
        detail = {"error": {"kind": "crashed", "message": reason}, "final": final}
        return self._move(id, "crashed", detail, expected="running", held_attempt=attempt)

    def requeue(
        self,
        id: str,
        *,
        expected: str,
        owner: int | None = None,
        attempt: int | None = None,
        delay: float = 0,
        detail: Json | None = None,
    ) -> bool:
        """Back into the queue as the next attempt: after a crash, or when ``owner`` gives it back. ``delay``: seconds it waits at least."""
        return self._move(id, "queued", detail, expected=expected, held_by=owner, held_attempt=attempt, delay=delay)

    def progress(self, id: str, progress: Json, *, owner: int, attempt: int) -> bool:
        """Working state: not durable at once. False when the run is no longer held."""
        values = {"id": id, "progress": json.dumps(progress), "owner": owner, "attempt": attempt}
        return bool(self._connection.execute(statements.PROGRESS, values).rowcount)

    def assert_held(self, id: str, *, owner: int, attempt: int) -> None:
        """Lets nobody take the run away before this transaction ends. Raises Cancelled when it is to stop, or has another owner."""
        if self._connection.execute(statements.HELD, {"id": id, "owner": owner, "attempt": attempt}).one_or_none() is None:
            raise errors.Cancelled("The run is to stop, or was taken away from this process.")

    def log(self, id: str, *, attempt: int, level: str, message: str) -> None:
        values = {"id": id, "attempt": attempt, "at": self._clock.now(), "level": level, "message": message}
        self._connection.execute(statements.LOG, values)

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

    def unattended(self, *, alive: Collection[int], owner: int) -> Sequence[tuple[Run, bool]]:
        """What runs for owners that are not ``alive``, and all that ``owner`` has; and whether it is of ``owner``."""
        rows = self._connection.execute(statements.UNATTENDED, {"alive": list(alive), "owner": owner}).all()
        return [(self.get(row.run_id), row.owner == owner) for row in rows]

    def oldest(self) -> Mapping[str, Any]:
        """``queued``: how many; for how long the oldest has waited that could have begun, and the oldest has run."""
        row, now = self._connection.execute(statements.OLDEST).one(), self._clock.now()
        since = {"oldest_queued_seconds": row.queued_at, "oldest_running_seconds": row.started_at}
        return {"queued": row.queued} | {name: at and round((now - at).total_seconds(), 1) for name, at in since.items()}

    def readers(self, dataset: str, *, start: datetime, end: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        """Succeeded runs that used rows of a data set from ``start`` to ``end`` (included), newest first, with the version each made."""
        values = {"dataset": dataset, "start": start, "end": end, "limit": limit}
        return [dict(row) for row in self._connection.execute(statements.READERS, values).mappings()]

    def _move(
        self,
        id: str,
        status: str,
        detail: Json | None = None,
        *,
        expected: str,
        held_by: int | None = None,
        held_attempt: int | None = None,
        delay: float = 0,
    ) -> bool:
        values = {"id": id, "expected": expected, "held_by": held_by, "held_attempt": held_attempt, "delay": delay}
        return self._tell(statements.MOVE, status, detail or {}, values) is not None

    def _tell(self, statement: Prepared, status: str, detail: Json, values: dict[str, Any], *, after: str = "") -> dict[str, Any] | None:
        """What the statement answers, and ``at``: the instant it was told at. None when nothing was changed."""
        event, at = EVENT_OF[status], self._clock.now()
        told = {"status": status, "event": event, "detail": json.dumps(detail), "at": at}
        row = statement.execute(self._connection, values | told, after=after).mappings().one_or_none()
        if row is None:
            return None
        if event is not None:
            self._outbox.noted(Event(type=event, timestamp=at, data=row["data"]))
        return {**row, "at": at}


def _begun(row: Mapping[str, Any], *, status: str, attempt: int, created_at: datetime, started_at: datetime | None) -> Run:
    """A run that has come to nothing yet."""
    found: dict[str, Any] = dict.fromkeys(("finished_at", "progress", "result", "error"))
    found |= {name: row[name] for name in ("id", "kind", "model_name", "priority")}
    found |= {name: StoredJson(row[name]) for name in ("trigger", "spec")}
    return Run(**found, status=status, attempt=attempt, created_at=created_at, started_at=started_at)


def _run(row: sa.RowMapping) -> Run:
    found: dict[str, Any] = {name: row[name] for name in _NAMES}
    for name in _STORED:
        found[name] = None if row[name] is None else StoredJson(row[name])
    return Run(**found)
