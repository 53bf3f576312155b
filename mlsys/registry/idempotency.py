"""Requests that carry an idempotency key: each has its effect once, and says so in the transaction of that effect.

A request is remembered by the thread that serves it; each unit of work that commits there writes the key's row first. Of two requests with
one key the second waits there for the first to commit, and is rolled back. What HTTP is, is not known here.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from mlsys import errors
from mlsys.events.types import Event
from mlsys.records import Json
from mlsys.storage.database import translated

_FRESH = "created_at > clock_timestamp() - CAST(:lifetime AS interval)"
_FIND = sa.text(f"SELECT fingerprint, effects, answer FROM idempotency_keys WHERE scope = :scope AND key = :key AND {_FRESH}")
_NOTE = sa.text(
    f"""
WITH expired AS (
    DELETE FROM idempotency_keys WHERE ctid IN (
        SELECT ctid FROM idempotency_keys WHERE NOT {_FRESH} AND (scope, key) <> (:scope, :key) LIMIT 100 FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO idempotency_keys AS k (scope, key, fingerprint, effects, created_at)
VALUES (:scope, :key, :fingerprint, CAST(:effects AS jsonb), clock_timestamp())
ON CONFLICT (scope, key) DO UPDATE SET
    fingerprint = excluded.fingerprint, effects = excluded.effects, answer = NULL, created_at = excluded.created_at
    WHERE :mine OR NOT k.{_FRESH}
RETURNING key
"""
)
_ANSWER = sa.text("UPDATE idempotency_keys SET answer = CAST(:answer AS jsonb) WHERE scope = :scope AND key = :key")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What is known of a request that was carried out. ``effects``: (event type, data); ``answer`` None: it was lost."""

    effects: Sequence[tuple[str, Json]]
    answer: Json | None


@dataclass(kw_only=True)
class _Request:
    """``fingerprint`` tells requests with another body apart; it may have to read the body to its end."""

    scope: str
    key: str
    fingerprint: Callable[[], str]
    effects: list[tuple[str, Json]] = field(default_factory=list)
    noted: bool = False


class Keys:
    """``lifetime``: how long a key is remembered."""

    def __init__(self, *, engine: sa.Engine, lifetime: timedelta) -> None:
        self._engine = engine
        self._lifetime = lifetime
        self._mutex = threading.Lock()
        self._going: set[tuple[str, str]] = set()
        self._local = threading.local()

    @contextmanager
    def request(self, scope: str, key: str, fingerprint: Callable[[], str]) -> Iterator[Stored | None]:
        """While it lasts this thread serves that request. Yields what is stored of one that was carried out already.

        Raises Conflict while this process serves another with that key, Invalid when that one had another body.
        """
        with self._mutex:
            if (scope, key) in self._going:
                raise errors.Conflict("A request with this Idempotency-Key is still in progress; ask again once it has been answered.")
            self._going.add((scope, key))
        try:
            self._local.request = _Request(scope=scope, key=key, fingerprint=fingerprint)
            yield self.stored()
        finally:
            self._local.request = None
            with self._mutex:
                self._going.discard((scope, key))

    def stored(self) -> Stored | None:
        """What is stored of an earlier request with the key of this one. Raises Invalid when it had another body."""
        request: _Request = self._local.request
        with translated(), self._engine.connect() as connection:
            row = connection.execute(_FIND, self._named(request)).one_or_none()
        if row is None:
            return None
        if row.fingerprint != request.fingerprint():
            text = "This key was used for a request with another body; give each request a key of its own."
            raise errors.Invalid({"Idempotency-Key": text})
        return Stored(effects=[(type, data) for type, data in row.effects], answer=row.answer)

    def note(self, connection: sa.Connection, written: Sequence[Event]) -> None:
        """Before each commit: writes the key of the request that this thread serves, if it has one. Raises Repeated."""
        request: _Request | None = getattr(self._local, "request", None)
        if request is None:
            return
        request.effects += [(event.type, event.data) for event in written]
        values = self._named(request) | {
            "fingerprint": request.fingerprint(),
            "effects": json.dumps(request.effects),
            "mine": request.noted,
        }
        if connection.execute(_NOTE, values).one_or_none() is None:
            raise errors.Repeated("Another request with this Idempotency-Key was carried out meanwhile.")
        request.noted = True

    def answer(self, answer: Json) -> None:
        """Keeps what is answered to the request of this thread. It is not waited for: a run can be told of without it."""
        request: _Request = self._local.request
        with translated(), self._engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
            if not request.noted:  # nothing was changed; nor shall it be when the same is asked again
                self.note(connection, ())
            connection.execute(_ANSWER, self._named(request) | {"answer": json.dumps(answer)})

    def _named(self, request: _Request) -> dict[str, Any]:
        return {"scope": request.scope, "key": request.key, "lifetime": self._lifetime}
