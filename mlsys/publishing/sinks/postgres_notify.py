"""Sends events over PostgreSQL's NOTIFY, to whoever listens then; who was away goes on with GET /events after the last sequence."""

import json
import re
from collections.abc import Sequence

import sqlalchemy as sa

from mlsys import errors
from mlsys.events.sinks import EventSink
from mlsys.events.types import SequencedEvent
from mlsys.storage.database import make_engine

_MOST_BYTES = 7999  # what PostgreSQL takes as payload
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class PostgresNotify(EventSink):
    """``channel``: LISTEN to this. ``url``: of another PostgreSQL; without one it is mlsys' own database.

    The payload is the envelope as JSON. One that is too large for NOTIFY comes without ``data``: ask GET /events for it, by its sequence.
    """

    def __init__(self, *, engine: sa.Engine, channel: str = "mlsys_events", url: str | None = None) -> None:
        if not _NAME.fullmatch(channel):
            raise errors.Invalid({"channel": "Write a plain PostgreSQL name: lower-case letters, digits and _, 63 at most."})
        self._channel = channel
        self._own = None if url is None else make_engine(url, pool_size=1, statement_timeout_seconds=30)
        self._engine = self._own or engine

    def send(self, events: Sequence[SequencedEvent]) -> None:
        """In one transaction: all of them, or none."""
        payloads = [{"channel": self._channel, "payload": _payload(event)} for event in events]
        with self._engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_notify(:channel, :payload)"), payloads)

    def close(self) -> None:
        if self._own is not None:
            self._own.dispose()


def _payload(event: SequencedEvent) -> str:
    envelope = event.envelope()
    text = json.dumps(envelope, separators=(",", ":"))  # ASCII: as many bytes as characters
    return text if len(text) <= _MOST_BYTES else json.dumps({name: envelope[name] for name in ("type", "timestamp", "sequence")})
