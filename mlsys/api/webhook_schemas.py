"""The shapes of webhooks and deliveries, in and out."""

from typing import Any, get_args

import marshmallow as ma
from marshmallow import fields

from mlsys.api.fields import Flag, Instant, name
from mlsys.registry.deliveries import State

_INSTANT = {"type": "string", "format": "date-time"}
_URL = {"description": "http or https, without user info or fragment; its host must be public, or named in webhooks.allowed_hosts."}
_EVENTS = {"description": "Event types such as model.rejected, all of a kind as in model.*, or * for every event."}
_MODEL = {"description": "Only events of this model; null: of all, and those of none."}


class ChangeWebhookBody(ma.Schema):
    url = fields.String(metadata=_URL)
    events = fields.List(fields.String(validate=ma.validate.Length(1, 100)), validate=ma.validate.Length(1, 50), metadata=_EVENTS)
    model_name = name(allow_none=True, metadata=_MODEL)
    description = fields.String(allow_none=True, validate=ma.validate.Length(max=2000))
    enabled = Flag(metadata={"type": "boolean", "description": "false: paused; what happens meanwhile is sent once it is true again."})


class WebhookBody(ChangeWebhookBody):
    url = fields.String(required=True, metadata=_URL)
    events = fields.List(
        fields.String(validate=ma.validate.Length(1, 100)), required=True, validate=ma.validate.Length(1, 50), metadata=_EVENTS
    )


class DisabledOut(ma.Schema):
    reason = fields.String()
    at = fields.String(metadata=_INSTANT)


class WebhookOut(ma.Schema):
    id = fields.String()
    url = fields.String()
    events = fields.List(fields.String())
    model_name = fields.String(allow_none=True)
    description = fields.String(allow_none=True)
    enabled = fields.Boolean()
    disabled = fields.Nested(
        DisabledOut, allow_none=True, metadata={"description": "Why mlsys itself stopped it; enabled: true ends that."}
    )
    created_at = Instant(metadata=_INSTANT)
    updated_at = Instant(metadata=_INSTANT)
    pending = fields.Integer(allow_none=True, metadata={"description": "Deliveries on their way or to be tried again; null with as_of."})
    failing = fields.Boolean(allow_none=True, metadata={"description": "Some of those have failed before; null with as_of."})
    last_delivered_at = Instant(allow_none=True, metadata=_INSTANT)


class SecretWebhookOut(WebhookOut):
    secret = fields.String(metadata={"description": "whsec_..., shown this once: signatures are verified with it."})


class TestedOut(ma.Schema):
    status = fields.Integer(allow_none=True, metadata={"description": "HTTP status; null: no answer."})
    latency_ms = fields.Float()


class DeliveriesQuery(ma.Schema):
    limit = fields.Integer(strict=False, load_default=50, validate=ma.validate.Range(1, 200))
    cursor = fields.String(validate=ma.validate.Length(min=1, max=100), metadata={"description": "next_cursor of the page before."})
    state = fields.String(validate=ma.validate.OneOf(get_args(State)))


class ReplayQuery(ma.Schema):
    after_sequence = fields.Integer(
        required=True,
        strict=False,
        validate=ma.validate.Range(0, 2**63 - 1),
        metadata={"description": "Each event with a greater sequence is sent once more, with its old id."},
    )


class ReplayedOut(ma.Schema):
    after_sequence = fields.Integer()
    events = fields.Integer(metadata={"description": "How many will be sent once more."})


class NothingBody(ma.Schema):
    """Nothing to say."""


class AttemptOut(ma.Schema):
    attempt = fields.Integer(metadata={"description": "1, 2, 3 .."})
    at = Instant(metadata=_INSTANT)
    status = fields.Integer(allow_none=True, metadata={"description": "HTTP status; null: no answer."})
    latency_ms = fields.Float()
    error = fields.String(allow_none=True)
    next_retry_at = Instant(allow_none=True, attribute="next_attempt_at", metadata=_INSTANT)


class DeliveryOut(ma.Schema):
    """An event on its way to an endpoint; status, latency and error are those of its last attempt."""

    id = fields.String()
    webhook_id = fields.String()
    event_id = fields.String(metadata={"description": "The webhook-id header, the same at each attempt."})
    sequence = fields.Integer()
    type = fields.String()
    state = fields.String(metadata={"enum": list(get_args(State))})
    status = fields.Integer(allow_none=True, metadata={"description": "HTTP status; null: no attempt, or no answer."})
    latency_ms = fields.Float(allow_none=True)
    error = fields.String(allow_none=True)
    next_retry_at = Instant(allow_none=True, metadata=_INSTANT)
    created_at = Instant(metadata=_INSTANT)
    finished_at = Instant(allow_none=True, metadata=_INSTANT)
    attempts = fields.List(fields.Nested(AttemptOut))


def told(webhook: Any, secret: str | None = None) -> dict[str, Any]:
    """A WebhookState as WebhookOut takes it."""
    found = {**vars(webhook.webhook), **{name: value for name, value in vars(webhook).items() if name != "webhook"}}
    return found if secret is None else found | {"secret": secret}
