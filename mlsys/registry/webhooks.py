"""Webhooks: the log of their definitions, where each stands, and their sealed secrets. What is sent to them is in deliveries.py."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from mlsys import errors
from mlsys.clock import Clock
from mlsys.records import Json
from mlsys.registry.pages import Page, page
from mlsys.storage import tables


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """``events``: patterns over event types. ``disabled``: why and when mlsys itself stopped it; None when it did not."""

    id: str
    url: str = field(repr=False)  # those of chat systems are passwords
    events: tuple[str, ...]
    model_name: str | None = None
    description: str | None = None
    enabled: bool = True
    disabled: Json | None = None


@dataclass(frozen=True, kw_only=True)
class WebhookState:
    """``pending``: events that are on their way or wait for a retry; ``failing``: some have been tried. None for the past."""

    webhook: Webhook
    created_at: datetime
    updated_at: datetime
    pending: int | None
    failing: bool | None
    last_delivered_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """An encrypted secret, and the name of the key that opens it."""

    text: str = field(repr=False)
    key_id: str


_w, _s, _x, _d = tables.webhooks.c, tables.webhook_state.c, tables.webhook_secrets.c, tables.deliveries.c
_first = tables.webhooks.alias("first")
_OF = (_d.webhook_id == _s.webhook_id, _d.state == "pending")
_STATE = (
    sa.select(_s.webhook_id, _s.first_seq, _s.sequence, _w.definition, _first.c.created_at, _w.created_at.label("updated_at"))
    .add_columns(sa.select(sa.func.count()).where(*_OF).scalar_subquery().label("pending"))
    .add_columns(sa.exists().where(*_OF, _d.tries > 0).label("failing"))
    .add_columns(
        sa.select(sa.func.max(_d.finished_at))
        .where(_d.webhook_id == _s.webhook_id, _d.state == "delivered")
        .scalar_subquery()
        .label("last_delivered_at")
    )
    .join_from(tables.webhook_state, tables.webhooks, _w.seq == _s.seq)
    .join(_first, _first.c.seq == _s.first_seq)
)
_APPEND = sa.text(
    "INSERT INTO webhooks (id, definition, deleted, created_at) VALUES (:id, CAST(:definition AS jsonb), :deleted, :at) RETURNING seq"
)
# one that is new hears of what comes from now on
_STAND = sa.text(
    """
INSERT INTO webhook_state (webhook_id, first_seq, seq, enabled, sequence)
VALUES (:id, :seq, :seq, :enabled, (SELECT coalesce(max(sequence), 0) FROM event_sequence))
ON CONFLICT (webhook_id) DO UPDATE SET seq = excluded.seq, enabled = excluded.enabled
"""
)
_SEAL = sa.text(
    "INSERT INTO webhook_secrets (webhook_id, sealed, key_id, created_at) VALUES (:id, :text, :key_id, CAST(:at AS timestamptz))"
)
_EXPIRE = sa.text("UPDATE webhook_secrets SET expires_at = :until WHERE webhook_id = :id AND expires_at IS NULL")
_FORGET = sa.text("DELETE FROM webhook_secrets WHERE expires_at <= :now OR webhook_id NOT IN (SELECT webhook_id FROM webhook_state)")
_SECRETS = sa.select(_x.sealed, _x.key_id).order_by(_x.seq.desc())
_ELSEWHERE = sa.text(
    """
SELECT count(*) FROM webhook_state s
WHERE NOT EXISTS (SELECT FROM webhook_secrets x WHERE x.webhook_id = s.webhook_id AND x.key_id = :key_id AND x.expires_at IS NULL)
"""
)


class WebhookRepository:
    def __init__(self, *, connection: sa.Connection, clock: Clock, past: bool) -> None:
        self._connection = connection
        self._clock = clock
        self._past = past

    def define(self, webhook: Webhook) -> None:
        """Appends a definition, from now on the webhook's."""
        seq = self._append(webhook, deleted=False)
        self._connection.execute(_STAND, {"id": webhook.id, "seq": seq, "enabled": webhook.enabled})

    def delete(self, webhook: Webhook) -> None:
        """Appends that it is no more; what was sent to it stays in the log of deliveries for as long as others."""
        self._append(webhook, deleted=True)
        self._connection.execute(sa.delete(tables.webhook_state).where(_s.webhook_id == webhook.id))
        self.forget_secrets()

    def lock(self, id: str) -> None:
        self._connection.execute(sa.select(_s.seq).where(_s.webhook_id == id).with_for_update())

    def find(self, id: str, *, alone: bool = False) -> WebhookState | None:
        """``alone``: nobody else changes it before the end of the transaction."""
        if alone:
            self.lock(id)
        row = self._connection.execute(_STATE.where(_s.webhook_id == id)).mappings().one_or_none()
        return None if row is None else self._state(row)

    def get(self, id: str, *, alone: bool = False) -> WebhookState:
        found = self.find(id, alone=alone)
        if found is None:
            raise errors.NotFound(f"There is no webhook {id!r}; GET /webhooks lists them.")
        return found

    def list(self, *, limit: int, cursor: str | None) -> Page[WebhookState]:
        """The one made last first."""
        rows, following = page(self._connection, _STATE, by=_s.first_seq, limit=limit, cursor=cursor)
        return Page(items=[self._state(row) for row in rows], next_cursor=following)

    def disabled(self) -> Sequence[str]:
        """Ids of those that mlsys itself stopped."""
        query = sa.select(_s.webhook_id).join_from(tables.webhook_state, tables.webhooks, _w.seq == _s.seq)
        stopped = query.where(~_s.enabled, _w.definition["disabled"].astext.is_not(None))
        return list(self._connection.scalars(stopped.order_by(_s.first_seq)))

    def count(self) -> tuple[int, int]:
        """Those that are enabled, and those that are not."""
        query = sa.select(sa.func.count().filter(_s.enabled), sa.func.count().filter(~_s.enabled)).select_from(tables.webhook_state)
        enabled, others = self._connection.execute(query).one()
        return enabled, others

    def add_secret(self, id: str, sealed: Sealed, *, others_until: datetime) -> None:
        """The secret from now on; what signed before does so as well until then."""
        self._connection.execute(_EXPIRE, {"id": id, "until": others_until})
        self._connection.execute(_SEAL, {"id": id, "text": sealed.text, "key_id": sealed.key_id, "at": self._clock.now()})

    def secrets(self, id: str) -> Sequence[Sealed]:
        """Those that sign now, the newest first."""
        query = _SECRETS.where(_x.webhook_id == id, sa.or_(_x.expires_at.is_(None), _x.expires_at > self._clock.now()))
        return [Sealed(text=row.sealed, key_id=row.key_id) for row in self._connection.execute(query)]

    def forget_secrets(self) -> None:
        """Removes those that sign no more."""
        self._connection.execute(_FORGET, {"now": self._clock.now()})

    def sealed_elsewhere(self, key_id: str) -> int:
        """How many have a secret that this key does not open."""
        return int(self._connection.execute(_ELSEWHERE, {"key_id": key_id}).scalar_one())

    def _append(self, webhook: Webhook, *, deleted: bool) -> int:
        definition = {name: value for name, value in asdict(webhook).items() if name != "id"}
        values = {"id": webhook.id, "definition": json.dumps(definition), "deleted": deleted, "at": self._clock.now()}
        return int(self._connection.execute(_APPEND, values).scalar_one())

    def _state(self, row: sa.RowMapping) -> WebhookState:
        found = dict(row["definition"])
        webhook = Webhook(id=row["webhook_id"], **found | {"events": tuple(found["events"])})
        present: dict[str, Any] = {name: None if self._past else row[name] for name in ("pending", "failing", "last_delivered_at")}
        return WebhookState(webhook=webhook, created_at=row["created_at"], updated_at=row["updated_at"], **present)
