"""A message as Standard Webhooks 1.0 has it: body, id, timestamp, and a signature by each secret that is in force."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from standardwebhooks import Webhook

from mlsys.clock import rfc3339

_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Message:
    """``id`` stays the same however often it is sent."""

    id: str
    body: bytes


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def message(*, sequence: int | None, type: str, timestamp: datetime, data: str, id: str | None = None) -> Message:
    """The envelope of an event, ``data`` being JSON text. Its id, unless given, is that of the event, for every endpoint."""
    envelope = {"type": type, "timestamp": rfc3339(timestamp), "sequence": sequence, "data": orjson.Fragment(data)}
    return Message(id=id or event_id(sequence or 0), body=orjson.dumps(envelope))


def event_id(sequence: int) -> str:
    return f"evt_{sequence}"


def headers(message: Message, secrets: Sequence[str], now: datetime) -> Mapping[str, str]:
    """As of now: both change with each attempt. While a secret is being replaced, the old and the new one sign."""
    text = message.body.decode()
    return {
        "Content-Type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(message.id, now, text) for secret in secrets),
    }
