"""Schedules: the log of their definitions, and where each stands. What a firing leads to is in firings.py."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from mlsys import errors
from mlsys.clock import Clock
from mlsys.clock import rfc3339 as text_of
from mlsys.records import Schedule, ScheduleState
from mlsys.registry.pages import Page, page
from mlsys.storage import tables

_s, _d = tables.schedule_state.c, tables.schedules.c
_first = tables.schedules.alias("first")
_STATE = (
    sa.select(tables.schedule_state, _d.definition, _d.declared, _d.created_at.label("updated_at"), _first.c.created_at)
    .join(tables.schedules, _d.seq == _s.seq)
    .join(_first, _first.c.seq == _s.first_seq)
)
_APPEND = sa.text(
    "INSERT INTO schedules (name, definition, declared, deleted, created_at) "
    "VALUES (:name, CAST(:definition AS jsonb), :declared, :deleted, :at) RETURNING seq"
)
_STAND = sa.text(
    """
INSERT INTO schedule_state (name, first_seq, seq, next_fire_time) VALUES (:name, :seq, :seq, :next)
ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, next_fire_time = excluded.next_fire_time
"""
)
_GIVEN = "jsonb_to_recordset(CAST(:given AS jsonb)) AS g(name text, seq bigint, due timestamptz, next timestamptz, last timestamptz)"
_CONFIRM = sa.text(
    f"""
SELECT s.name FROM schedule_state s JOIN {_GIVEN} ON g.name = s.name AND g.seq = s.seq AND g.due = s.next_fire_time
ORDER BY s.name FOR UPDATE OF s
"""
)
_ADVANCE = sa.text(
    f"UPDATE schedule_state s SET next_fire_time = g.next, last_fire_time = g.last FROM {_GIVEN} WHERE g.name = s.name AND g.seq = s.seq"
)
_DECLARED = sa.text(
    """
SELECT name, definition FROM (
    SELECT DISTINCT ON (name) name, definition, deleted FROM schedules WHERE declared ORDER BY name, seq DESC
) latest WHERE NOT deleted
"""
)


class ScheduleRepository:
    def __init__(self, *, connection: sa.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def lock(self, name: str) -> None:
        """Waits for any other unit that defines this schedule; held to the end of the transaction."""
        text = "SELECT pg_advisory_xact_lock(hashtextextended('schedule:' || :name, 0))"
        self._connection.execute(sa.text(text), {"name": name})

    def lock_declarations(self) -> None:
        """One process at a time holds the declarations of its configuration against the log."""
        self._connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('schedules', 0))"))

    def define(self, schedule: Schedule, *, declared: bool, next_fire_time: datetime | None) -> None:
        """Appends a definition, from now on the schedule's. The caller holds the lock."""
        seq = self._append(schedule, declared=declared, deleted=False)
        self._connection.execute(_STAND, {"name": schedule.name, "seq": seq, "next": next_fire_time})

    def delete(self, schedule: Schedule, *, declared: bool) -> None:
        """Appends that the schedule is no more; its definitions stay. The caller holds the lock."""
        self._append(schedule, declared=declared, deleted=True)
        self._connection.execute(sa.delete(tables.schedule_state).where(_s.name == schedule.name))

    def find(self, name: str, *, alone: bool = False) -> ScheduleState | None:
        """``alone``: nobody else moves it on before the end of the transaction."""
        query = _STATE.where(_s.name == name)
        row = self._connection.execute(query.with_for_update(of=tables.schedule_state) if alone else query).mappings().one_or_none()
        return None if row is None else _state(row)

    def get(self, name: str, *, alone: bool = False) -> ScheduleState:
        found = self.find(name, alone=alone)
        if found is None:
            raise errors.NotFound(f"There is no schedule {name!r}. GET /schedules lists those there are; POST /schedules makes one.")
        return found

    def list(self, *, limit: int, cursor: str | None) -> Page[ScheduleState]:
        """The one made last first."""
        rows, following = page(self._connection, _STATE, by=_s.first_seq, limit=limit, cursor=cursor)
        return Page(items=[_state(row) for row in rows], next_cursor=following)

    def declared(self) -> dict[str, Schedule]:
        """What the configuration declared last, of schedules that it has not removed since."""
        return {row.name: Schedule(name=row.name, **row.definition) for row in self._connection.execute(_DECLARED)}

    def due(self, now: datetime, *, limit: int) -> Sequence[ScheduleState]:
        """Schedules whose time has come, the longest overdue first."""
        query = _STATE.where(_s.next_fire_time <= now).order_by(_s.next_fire_time, _s.name).limit(limit)
        return [_state(row) for row in self._connection.execute(query).mappings()]

    def next_fire_time(self) -> datetime | None:
        """Of all schedules."""
        query = sa.select(_s.next_fire_time).where(_s.next_fire_time.is_not(None)).order_by(_s.next_fire_time).limit(1)
        return self._connection.execute(query).scalar_one_or_none()

    def active(self) -> int:
        """How many will fire."""
        return int(self._connection.execute(sa.select(sa.func.count()).where(_s.next_fire_time.is_not(None))).scalar_one())

    def confirm(self, states: Iterable[ScheduleState]) -> set[str]:
        """Which of these still stand as they were read; nobody changes those before the end of the transaction."""
        given = [{"name": s.schedule.name, "seq": s.seq, "due": _text(s.next_fire_time)} for s in states]
        return set(self._connection.scalars(_CONFIRM, {"given": json.dumps(given)}))

    def advance(self, moves: Iterable[tuple[ScheduleState, datetime | None, datetime]]) -> None:
        """Each to its next fire time (None: it never fires again), with the last that has been recorded."""
        given = [{"name": s.schedule.name, "seq": s.seq, "next": _text(next), "last": _text(last)} for s, next, last in moves]
        self._connection.execute(_ADVANCE, {"given": json.dumps(given)})

    def _append(self, schedule: Schedule, *, declared: bool, deleted: bool) -> int:
        definition = {name: value for name, value in asdict(schedule).items() if name != "name"}
        values = {"name": schedule.name, "definition": json.dumps(definition), "declared": declared, "deleted": deleted}
        return int(self._connection.execute(_APPEND, values | {"at": self._clock.now()}).scalar_one())


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else text_of(instant)


def _state(row: sa.RowMapping) -> ScheduleState:
    told: dict[str, Any] = {name: row[name] for name in ScheduleState.__dataclass_fields__ if name != "schedule"}
    return ScheduleState(schedule=Schedule(name=row["name"], **row["definition"]), **told)
