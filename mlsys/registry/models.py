"""Registered models: the log of their definitions. The newest definition of a name is the model's."""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from mlsys import errors
from mlsys.clock import Clock
from mlsys.records import Json, Model
from mlsys.registry.pages import Page, page
from mlsys.storage import tables
from mlsys.storage.prepared import Prepared

_m, _v, _p = tables.models.c, tables.model_versions.c, tables.promotions.c
_first = (
    sa.select(sa.func.min(_m.created_at).label("created_at"), sa.func.min(_m.seq).label("first_seq"), _m.name)
    .group_by(_m.name)
    .subquery("first")
)
_latest = (
    sa.select(_m.name, _m.definition, _m.created_at.label("updated_at"))
    .ext(distinct_on(_m.name))
    .order_by(_m.name, _m.seq.desc())
    .subquery("latest")
)
_production = (
    sa.select(_p.model_version_id)
    .where(_p.model_name == _latest.c.name)
    .order_by(_p.created_at.desc(), _p.sequence.desc())  # the log's own order, and that of an index which serves any as_of
    .limit(1)
    .scalar_subquery()
    .label("production")
)
_versions = sa.func.coalesce(sa.select(sa.func.max(_v.version)).where(_v.model_name == _latest.c.name).scalar_subquery(), 0).label(
    "versions"
)
_DEFINITION = Prepared("model_definition", "SELECT definition FROM models WHERE name = :name ORDER BY seq DESC LIMIT 1", name="text")
_MODEL = sa.select(_latest, _first.c.created_at, _first.c.first_seq, _production, _versions).join(_first, _first.c.name == _latest.c.name)


class ModelRepository:
    def __init__(self, *, connection: sa.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def define(self, name: str, definition: Json) -> bool:
        """Appends a definition unless it is the present one already. Returns whether it was appended."""
        self._connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('define:' || :name, 0))"), {"name": name})
        if self.definition(name) == definition:
            return False
        text = "INSERT INTO models (name, definition, created_at) VALUES (:name, CAST(:definition AS jsonb), :at)"
        self._connection.execute(sa.text(text), {"name": name, "definition": json.dumps(definition), "at": self._clock.now()})
        return True

    def definition(self, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = _DEFINITION.execute(self._connection, {"name": name}).scalar_one_or_none()
        return found

    def definitions(self) -> Sequence[tuple[str, Json]]:
        """The present definition of every model, by name."""
        rows = self._connection.execute(sa.select(_latest.c.name, _latest.c.definition).order_by(_latest.c.name))
        return [(name, definition) for name, definition in rows]

    def get(self, name: str) -> Model:
        row = self._connection.execute(_MODEL.where(_latest.c.name == name)).mappings().one_or_none()
        if row is None:
            raise unknown(name)
        return _model(row)

    def list(self, *, limit: int, cursor: str | None) -> Page[Model]:
        rows, following = page(self._connection, _MODEL, by=_first.c.first_seq, limit=limit, cursor=cursor)
        return Page(items=[_model(row) for row in rows], next_cursor=following)


def unknown(name: str) -> errors.NotFound:
    return errors.NotFound(
        f"There is no model {name!r}. GET /models lists those there are; new ones are declared under models: in config.yaml, "
        "which is read when mlsys serve starts."
    )


def _model(row: sa.RowMapping) -> Model:
    return Model(**{name: row[name] for name in ("name", "definition", "created_at", "updated_at", "production", "versions")})
