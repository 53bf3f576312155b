"""Importances of model versions, each computed once and kept with its version. What they mean is not known here."""

import json

import sqlalchemy as sa

from mlsys.clock import Clock
from mlsys.records import Json
from mlsys.storage import tables

_i = tables.version_importances.c
_INSERT = sa.text(
    "INSERT INTO version_importances (model_version_id, content, created_at) VALUES (:id, CAST(:content AS jsonb), :at) "
    "ON CONFLICT (model_version_id) DO NOTHING"
)


class ImportanceRepository:
    def __init__(self, *, connection: sa.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def find(self, version_id: str) -> Json | None:
        return self._connection.execute(sa.select(_i.content).where(_i.model_version_id == version_id)).scalar_one_or_none()

    def add(self, version_id: str, content: Json) -> None:
        """Once a version; of two callers the first one counts."""
        self._connection.execute(_INSERT, {"id": version_id, "content": json.dumps(content), "at": self._clock.now()})
