"""Access tokens: the log of those given and taken back, when each was last used, and the sessions opened with them. Knows no secret."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import sqlalchemy as sa

from mlsys import errors
from mlsys.clock import Clock
from mlsys.storage import access_tables as tables

Scope = Literal["read", "run", "promote", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""Each includes those before it."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """``revoked_at``, ``last_used_at`` None: not so far; ``expires_at`` None: never. ``last_used_at`` may be a minute old."""

    id: str
    name: str
    scope: Scope
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Credential:
    """What a caller may show: a token, or a session of one. ``digest``: of its secret; ``expires_at``: its own end, if it has one."""

    token: Token
    digest: str
    expires_at: datetime | None


_t, _r, _u, _s = tables.tokens.c, tables.token_revocations.c, tables.token_uses.c, tables.sessions.c
_GIVEN = ("id", "name", "scope", "created_at", "created_by", "expires_at")
_TOKEN = (
    sa.select(*(_t[name] for name in _GIVEN))
    .add_columns(_u.at.label("last_used_at"), _r.at.label("revoked_at"), _r.revoked_by)
    .select_from(tables.tokens)
    .outerjoin(tables.token_revocations, _r.token_id == _t.id)
    .outerjoin(tables.token_uses, _u.token_id == _t.id)
)
_BY_TOKEN = _TOKEN.add_columns(_t.digest, _t.expires_at.label("ends_at")).where(_t.id == sa.bindparam("id"))
_BY_SESSION = (
    _TOKEN.add_columns(_s.digest, _s.expires_at.label("ends_at"))
    .join(tables.sessions, _s.token_id == _t.id)
    .where(_s.id == sa.bindparam("id"))
)
_THERE = sa.text("SELECT to_regclass('tokens') IS NOT NULL")
_ANY = sa.text("SELECT EXISTS (SELECT FROM tokens)")
_USABLE = sa.text(
    """
SELECT EXISTS (
    SELECT FROM tokens t WHERE (t.expires_at IS NULL OR t.expires_at > :now)
    AND NOT EXISTS (SELECT FROM token_revocations r WHERE r.token_id = t.id)
)
"""
)
_REVOKE = sa.text("INSERT INTO token_revocations (token_id, at, revoked_by) VALUES (:id, :at, :by) ON CONFLICT DO NOTHING")
_USED = sa.text(
    """
WITH patience AS (SELECT set_config('synchronous_commit', 'off', true) AS set)
INSERT INTO token_uses (token_id, at) SELECT CAST(:id AS text), CAST(:at AS timestamptz) FROM patience WHERE set IS NOT NULL
ON CONFLICT (token_id) DO UPDATE SET at = greatest(token_uses.at, excluded.at)
"""
)


class TokenRepository:
    def __init__(self, *, connection: sa.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def add(self, token: Token, digest: str) -> None:
        self._connection.execute(sa.insert(tables.tokens), {name: getattr(token, name) for name in _GIVEN} | {"digest": digest})

    def revoke(self, id: str, *, by: str) -> Token:
        """From now on it is refused; a second time changes nothing. Raises NotFound."""
        if self.get(id).revoked_at is None:
            self._connection.execute(_REVOKE, {"id": id, "at": self._clock.now(), "by": by})
            self._connection.execute(sa.delete(tables.sessions).where(_s.token_id == id))
        return self.get(id)

    def get(self, id: str) -> Token:
        row = self._connection.execute(_TOKEN.where(_t.id == id)).mappings().one_or_none()
        if row is None:
            raise errors.NotFound(f"There is no token {id!r}; `mlsys token list` lists them.")
        return Token(**row)

    def list(self) -> Sequence[Token]:
        """All that were ever given, the newest first."""
        return [Token(**row) for row in self._connection.execute(_TOKEN.order_by(_t.seq.desc())).mappings()]

    def any(self) -> bool:
        """Whether one was ever given, of use today or not; False also where the schema knows of none yet."""
        return bool(self._connection.scalar(_THERE) and self._connection.scalar(_ANY))

    def usable(self) -> bool:
        """Whether there is one that lets somebody in."""
        return bool(self._connection.scalar(_THERE) and self._connection.scalar(_USABLE, {"now": self._clock.now()}))

    def by_token(self, id: str) -> Credential | None:
        return self._credential(_BY_TOKEN, id)

    def by_session(self, id: str) -> Credential | None:
        return self._credential(_BY_SESSION, id)

    def used(self, id: str) -> None:
        """Notes that the token was used now. Not durable at once."""
        self._connection.execute(_USED, {"id": id, "at": self._clock.now()})

    def add_session(self, id: str, *, token_id: str, digest: str, expires_at: datetime) -> None:
        """Opens a session; those that have ended are removed meanwhile."""
        now = self._clock.now()
        self._connection.execute(sa.delete(tables.sessions).where(_s.expires_at <= now))
        values = {"id": id, "token_id": token_id, "digest": digest, "created_at": now, "expires_at": expires_at}
        self._connection.execute(sa.insert(tables.sessions), values)

    def end_session(self, id: str) -> None:
        self._connection.execute(sa.delete(tables.sessions).where(_s.id == id))

    def _credential(self, query: sa.Select[tuple[object, ...]], id: str) -> Credential | None:
        row = self._connection.execute(query, {"id": id}).mappings().one_or_none()
        if row is None:
            return None
        found = dict(row)
        digest, ends_at = found.pop("digest"), found.pop("ends_at")
        return Credential(token=Token(**found), digest=digest, expires_at=ends_at)
