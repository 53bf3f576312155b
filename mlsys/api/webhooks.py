"""/webhooks and /deliveries: who is told of which events, and every attempt to do so."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flask.views import MethodView
from flask_smorest import Blueprint

from mlsys import errors
from mlsys.api import schemas, webhook_schemas
from mlsys.api.blueprints import resource, then
from mlsys.api.services import Services
from mlsys.api.webhook_schemas import DeliveryOut, SecretWebhookOut, WebhookOut, told
from mlsys.registry.delivery_log import Delivery
from mlsys.registry.pages import Page
from mlsys.webhooks import signing

_ONCE = {"Cache-Control": "no-store"}


def build(services: Services) -> Blueprint:
    webhooks = resource("webhooks", "/webhooks", "Who is told of which events, and every attempt to do so", services)

    @webhooks.route("")
    class Webhooks(MethodView):
        @webhooks.arguments(schemas.PageQuery, location="query")
        @webhooks.response(200, schemas.page_of(WebhookOut))
        def get(self, query: Mapping[str, Any]) -> Page[dict[str, Any]]:
            """Webhooks, the one made last first."""
            with then(services, query) as unit:
                found = unit.webhooks.list(limit=query["limit"], cursor=query.get("cursor"))
                return Page(items=[told(each) for each in found.items], next_cursor=found.next_cursor)

        @webhooks.arguments(webhook_schemas.WebhookBody)
        @webhooks.response(201, SecretWebhookOut, headers={"Location": {"schema": {"type": "string"}}})
        def post(self, body: Mapping[str, Any]) -> tuple[dict[str, Any], int, dict[str, str]]:
            """Subscribe to events from now on. The answer holds the secret that signs them, this once."""
            found, secret = services.webhooks.create(_given(body))
            return told(found, secret), 201, {"Location": f"/webhooks/{found.webhook.id}", **_ONCE}

    @webhooks.route("/<id>")
    class OneWebhook(MethodView):
        @webhooks.arguments(schemas.AsOfQuery, location="query")
        @webhooks.response(200, WebhookOut)
        def get(self, query: Mapping[str, Any], id: str) -> dict[str, Any]:
            """One webhook, and whether what it is sent arrives."""
            with then(services, query) as unit:
                return told(unit.webhooks.get(id))

        @webhooks.arguments(webhook_schemas.ChangeWebhookBody)
        @webhooks.response(200, WebhookOut)
        def patch(self, body: Mapping[str, Any], id: str) -> dict[str, Any]:
            """Change just these fields. ``enabled: true`` sends what waited, also after mlsys had disabled it."""
            return told(services.webhooks.change(id, _given(body)))

        @webhooks.response(204)
        def delete(self, id: str) -> None:
            """Send nothing more. What it was stays in the log."""
            services.webhooks.delete(id)

    @webhooks.route("/<id>/test")
    class Test(MethodView):
        @webhooks.arguments(webhook_schemas.NothingBody, required=False)
        @webhooks.response(200, webhook_schemas.TestedOut)
        def post(self, body: Mapping[str, Any], id: str) -> dict[str, Any]:
            """Send one message of type ``webhook.test``, and tell status and latency."""
            status, latency = services.webhooks.test(id)
            return {"status": status, "latency_ms": latency}

    @webhooks.route("/<id>/rotate")
    class Rotate(MethodView):
        @webhooks.arguments(webhook_schemas.NothingBody, required=False)
        @webhooks.response(200, SecretWebhookOut)
        def post(self, body: Mapping[str, Any], id: str) -> tuple[dict[str, Any], int, dict[str, str]]:
            """A new secret, shown this once. For a while the old one signs as well (webhooks.rotation_hours)."""
            found, secret = services.webhooks.rotate(id)
            return told(found, secret), 200, _ONCE

    @webhooks.route("/<id>/deliveries")
    class Deliveries(MethodView):
        @webhooks.arguments(webhook_schemas.DeliveriesQuery, location="query")
        @webhooks.response(200, schemas.page_of(DeliveryOut))
        def get(self, query: Mapping[str, Any], id: str) -> Page[dict[str, Any]]:
            """What was sent or is to be, newest first, with every attempt. Delivered ones are kept for retention.deliveries_days."""
            with services.units() as unit:
                unit.webhooks.get(id)
                found = unit.delivery_log.list(id, state=query.get("state"), limit=query["limit"], cursor=query.get("cursor"))
            return Page(items=[_told(each) for each in found.items], next_cursor=found.next_cursor)

    @webhooks.route("/<id>/replay")
    class Replay(MethodView):
        @webhooks.arguments(webhook_schemas.ReplayQuery, location="query")
        @webhooks.arguments(webhook_schemas.NothingBody, required=False)
        @webhooks.response(202, webhook_schemas.ReplayedOut)
        def post(self, query: Mapping[str, Any], body: Mapping[str, Any], id: str) -> dict[str, Any]:
            """Send each event after a sequence, with its old id: again, or now if it waits for a retry. 409 while it is not enabled."""
            after = query["after_sequence"]
            return {"after_sequence": after, "events": services.webhooks.replay(id, after=after)}

    return webhooks


def build_deliveries(services: Services) -> Blueprint:
    deliveries = resource("deliveries", "/deliveries", "One delivery of an event", services)

    @deliveries.route("/<id>/redeliver")
    class Redeliver(MethodView):
        @deliveries.arguments(webhook_schemas.NothingBody, required=False)
        @deliveries.response(202, DeliveryOut)
        def post(self, body: Mapping[str, Any], id: str) -> dict[str, Any]:
            """Send an event once more, with its old id and all its retries. 409 while the webhook is not enabled."""
            if not re.fullmatch(r"[0-9]{1,18}", id, re.ASCII):
                raise errors.NotFound(f"There is no delivery {id!r}; GET /webhooks/ID/deliveries lists those that are kept.")
            return _told(services.webhooks.redeliver(int(id)))

    return deliveries


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(dict.fromkeys(value)) if name == "events" else value for name, value in body.items()}


def _told(delivery: Delivery) -> dict[str, Any]:
    last = asdict(delivery.attempts[-1]) if delivery.attempts else {}
    found = asdict(delivery) | {"event_id": signing.event_id(delivery.sequence), "next_retry_at": delivery.next_attempt_at}
    return found | {name: last.get(name) for name in ("status", "latency_ms", "error")}
