"""Episodes of degraded accuracy: an append-only log of when a model's forecasts got too wrong, and when they were right again."""

import json
from collections.abc import Sequence
from datetime import date, datetime

import sqlalchemy as sa

from mlsys.clock import Clock
from mlsys.records import Episode, Json
from mlsys.storage import tables

_e = tables.accuracy_episodes.c
_FIELDS = [_e[name] for name in Episode.__dataclass_fields__]
_INSERT = sa.text(
    "INSERT INTO accuracy_episodes (model_name, state, first_day, last_day, detail, created_at) "
    "VALUES (:model_name, :state, :first_day, :last_day, CAST(:detail AS jsonb), :at)"
)
_LASTING = sa.text(
    "SELECT model_name FROM "
    "(SELECT DISTINCT ON (model_name) model_name, state FROM accuracy_episodes ORDER BY model_name, seq DESC) AS last "
    "WHERE state = 'degraded' ORDER BY model_name"
)


class EpisodeRepository:
    def __init__(self, *, connection: sa.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def lock(self, model_name: str) -> None:
        """Waits for any other process that judges this model; held to the end of the transaction."""
        self._connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('accuracy:' || :name, 0))"), {"name": model_name})

    def last(self, model_name: str) -> Episode | None:
        query = sa.select(*_FIELDS).where(_e.model_name == model_name).order_by(_e.seq.desc()).limit(1)
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else Episode(**row)

    def open(self, model_name: str) -> Episode | None:
        """The episode that lasts."""
        found = self.last(model_name)
        return found if found and found.state == "degraded" else None

    def degraded(self) -> Sequence[str]:
        """Names of the models whose episode lasts."""
        return list(self._connection.scalars(_LASTING))

    def list(self, model_name: str) -> Sequence[Episode]:
        """Oldest first."""
        query = sa.select(*_FIELDS).where(_e.model_name == model_name).order_by(_e.seq)
        return [Episode(**row) for row in self._connection.execute(query).mappings()]

    def add(self, model_name: str, state: str, *, first_day: date, last_day: date, detail: Json) -> datetime:
        """The caller holds the lock. Returns when it was added."""
        at = self._clock.now()
        values = {"model_name": model_name, "state": state, "first_day": first_day, "last_day": last_day, "detail": json.dumps(detail)}
        self._connection.execute(_INSERT, values | {"at": at})
        return at
