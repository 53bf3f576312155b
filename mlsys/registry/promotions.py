"""The promotion log of each model: hash-chained, and the only truth of what is or was in production."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from mlsys import errors
from mlsys.clock import Clock
from mlsys.records import Promotion, PromotionAction
from mlsys.registry.pages import Page, page
from mlsys.storage import tables

_p = tables.promotions.c
_INSERT = sa.insert(tables.promotions)
_AT = sa.text(
    """
SELECT (SELECT model_version_id FROM promotions WHERE model_name = :name AND created_at <= asked.at
        ORDER BY created_at DESC, sequence DESC LIMIT 1)
FROM unnest(CAST(:instants AS timestamptz[])) WITH ORDINALITY AS asked (at, number) ORDER BY number
"""
)
_LAST = sa.text(
    """
SELECT model_version_id FROM promotions WHERE model_name = :name AND (CAST(:at AS timestamptz) IS NULL OR created_at <= :at)
GROUP BY model_version_id ORDER BY max(sequence) DESC LIMIT :count
"""
)


class PromotionRepository:
    """Appending needs the model's lock (UnitOfWork.lock_model): one promotion of a model at a time."""

    def __init__(self, *, connection: sa.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def production(self, model_name: str, *, at: datetime | None = None) -> Promotion | None:
        """The entry in force now, or at an instant; None when nothing was in production."""
        row = self._head(model_name, at)
        return None if row is None else _promotion(row)

    def last(self, model_name: str, *, count: int, at: datetime | None = None) -> Sequence[str]:
        """The last ``count`` different versions in production now, or up to an instant; the present one first."""
        return list(self._connection.scalars(_LAST, {"name": model_name, "at": at, "count": count}))

    def production_at(self, model_name: str, instants: Sequence[datetime]) -> Sequence[str | None]:
        """The version in production at each of these instants."""
        return list(self._connection.scalars(_AT, {"name": model_name, "instants": list(instants)}))

    def first_at(self, model_name: str) -> datetime | None:
        """When a version first came into production."""
        found: datetime | None = self._connection.execute(sa.select(sa.func.min(_p.created_at)).where(_p.model_name == model_name)).scalar()
        return found

    def promote(self, model_name: str, version_id: str, *, action: PromotionAction, actor: str, reason: str | None) -> Promotion:
        """Puts a version into production, above the present one."""
        head = self._head(model_name)
        return self._append(
            model_name, version_id, head, below=head["sequence"] if head else None, action=action, actor=actor, reason=reason
        )

    def demote(self, model_name: str, *, actor: str, reason: str | None) -> Promotion:
        """Goes back to the version in production before the present one, further back each time. Raises Conflict when there is none."""
        head = self._head(model_name)
        if head is None or head["below"] is None:
            raise errors.Conflict(f"No version of {model_name!r} was in production before the present one; promote one by its id instead.")
        earlier = (
            self._connection.execute(sa.select(tables.promotions).where(_p.model_name == model_name, _p.sequence == head["below"]))
            .mappings()
            .one()
        )
        return self._append(
            model_name, earlier["model_version_id"], head, below=earlier["below"], action="demote", actor=actor, reason=reason
        )

    def list(self, model_name: str, *, limit: int, cursor: str | None) -> Page[Promotion]:
        query = sa.select(tables.promotions).where(_p.model_name == model_name)
        rows, following = page(self._connection, query, by=_p.sequence, limit=limit, cursor=cursor)
        return Page(items=[_promotion(row) for row in rows], next_cursor=following)

    def _head(self, model_name: str, at: datetime | None = None) -> sa.RowMapping | None:
        query = sa.select(tables.promotions).where(_p.model_name == model_name)
        if at is not None:
            query = query.where(_p.created_at <= at)
        return self._connection.execute(query.order_by(_p.created_at.desc(), _p.sequence.desc()).limit(1)).mappings().one_or_none()

    def _append(
        self,
        model_name: str,
        version_id: str,
        head: sa.RowMapping | None,
        *,
        below: int | None,
        action: str,
        actor: str,
        reason: str | None,
    ) -> Promotion:
        entry: dict[str, Any] = {
            "model_name": model_name,
            "sequence": head["sequence"] + 1 if head else 1,
            "model_version_id": version_id,
            "previous_model_version_id": head["model_version_id"] if head else None,
            "below": below,
            "action": action,
            "actor": actor,
            "reason": reason,
            # never before its predecessor, whatever a clock says: "in production at D" must not depend on it
            "created_at": max(self._clock.now(), head["created_at"]) if head else self._clock.now(),
            "previous_hash": head["hash"] if head else None,
        }
        entry["hash"] = digest(entry)
        self._connection.execute(_INSERT, entry)
        return _promotion(entry)


def digest(entry: Any) -> str:
    """sha256 (hex) over the canonical JSON of an entry, its predecessor's hash included."""
    names = (
        "model_name",
        "sequence",
        "model_version_id",
        "previous_model_version_id",
        "below",
        "action",
        "actor",
        "reason",
        "previous_hash",
    )
    content = {name: entry[name] for name in names} | {"created_at": entry["created_at"].isoformat(timespec="microseconds")}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _promotion(row: Any) -> Promotion:
    return Promotion(**{name: row[name] for name in Promotion.__dataclass_fields__})
