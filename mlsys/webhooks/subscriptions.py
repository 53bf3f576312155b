"""The use cases of webhooks: subscribed, changed, paused, tested, given a new secret, and what was sent to them sent once more."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from mlsys import errors
from mlsys.clock import Clock
from mlsys.events import types
from mlsys.ids import new_id
from mlsys.registry.delivery_log import Delivery
from mlsys.registry.models import unknown
from mlsys.registry.unit_of_work import UnitOfWork, Units
from mlsys.registry.webhooks import Webhook, WebhookState
from mlsys.webhooks import signing
from mlsys.webhooks.outbound import Outbound
from mlsys.webhooks.sealing import Sealer

TEST = "webhook.test"


class Subscriptions:
    """``overlap``: how long a secret that was replaced still signs. ``wake``: called when there may be something to deliver."""

    def __init__(
        self, *, units: Units, clock: Clock, outbound: Outbound, sealer: Sealer, overlap: timedelta, wake: Callable[[], None]
    ) -> None:
        self._units = units
        self._clock = clock
        self._outbound = outbound
        self._sealer = sealer
        self._overlap = overlap
        self._wake = wake

    def create(self, fields: Mapping[str, Any]) -> tuple[WebhookState, str]:
        """The webhook, and its secret, which is told this once. It hears of what happens from now on. Raises Invalid."""
        webhook = Webhook(id=new_id(), **fields)
        self._outbound.check(webhook.url)
        with self._units() as unit:
            _check(unit, webhook)
            unit.webhooks.define(webhook)
            secret = self._new_secret(unit, webhook.id)
            unit.commit()
        return self.get(webhook.id), secret

    def get(self, id: str) -> WebhookState:
        with self._units() as unit:
            return unit.webhooks.get(id)

    def change(self, id: str, fields: Mapping[str, Any]) -> WebhookState:
        """Only these fields; what waited while it was not enabled is sent when it is again. Raises NotFound, Invalid."""
        if "url" in fields:
            self._outbound.check(fields["url"])
        with self._units() as unit:
            before = unit.webhooks.get(id, alone=True).webhook
            after = replace(before, **fields)
            if "enabled" in fields:
                after = replace(after, disabled=None)
            if after != before:
                _check(unit, after)
                unit.webhooks.define(after)
                if after.enabled and not before.enabled:
                    unit.deliveries.revive(id)
            unit.commit()
        self._wake()
        return self.get(id)

    def delete(self, id: str) -> None:
        """Nothing more is sent to it. Its definitions stay in the log. Raises NotFound."""
        with self._units() as unit:
            unit.webhooks.delete(unit.webhooks.get(id, alone=True).webhook)
            unit.commit()

    def rotate(self, id: str) -> tuple[WebhookState, str]:
        """A new secret, told this once; the old one signs beside it for a while. Raises NotFound."""
        with self._units() as unit:
            found = unit.webhooks.get(id, alone=True)
            secret = self._new_secret(unit, id)
            unit.commit()
        self._wake()
        return found, secret

    def test(self, id: str) -> tuple[int | None, float]:
        """Sends one message of type ``webhook.test``, whether it is enabled or not: the HTTP status, None for no answer, and milliseconds.

        Nothing else is told of the answer: whoever may name a URL must not read through it what only this machine can.
        """
        with self._units() as unit:
            webhook, sealed = unit.webhooks.get(id).webhook, unit.webhooks.secrets(id)
        now = self._clock.now()
        data = json.dumps({"webhook_id": id})
        message = signing.message(sequence=None, type=TEST, timestamp=now, data=data, id=f"test_{new_id()}")
        headers = signing.headers(message, self._sealer.open_all(sealed), now)
        begin = self._clock.now()
        try:
            reply = self._outbound.post(webhook.url, message.body, headers)
        except errors.Unanswered:
            return None, round((self._clock.now() - begin).total_seconds() * 1000, 1)
        return reply.status, round(reply.seconds * 1000, 1)

    def redeliver(self, delivery_id: int) -> Delivery:
        """Sends one once more, with its old id. Raises NotFound, and Conflict when its webhook takes nothing now."""
        with self._units() as unit:
            found = unit.delivery_log.get(delivery_id)
            _assert_enabled(unit.webhooks.get(found.webhook_id).webhook)
            unit.deliveries.again(delivery_id)
            unit.commit()
        self._wake()
        with self._units() as unit:
            return unit.delivery_log.get(delivery_id)

    def replay(self, id: str, *, after: int) -> int:
        """Sends each event after a sequence, with its old id; how many those are. Raises NotFound, Conflict as redeliver()."""
        with self._units() as unit:
            _assert_enabled(unit.webhooks.get(id, alone=True).webhook)
            count = unit.deliveries.replay(id, after=after)
            unit.commit()
        self._wake()
        return count

    def _new_secret(self, unit: UnitOfWork, id: str) -> str:
        secret = signing.new_secret()
        unit.webhooks.add_secret(id, self._sealer.seal(secret), others_until=self._clock.now() + self._overlap)
        unit.webhooks.forget_secrets()
        return secret


def _check(unit: UnitOfWork, webhook: Webhook) -> None:
    wrong = [pattern for pattern in webhook.events if not any(types.matches(pattern, name) for name in types.NAMES)]
    if wrong:
        names = ", ".join(types.NAMES)
        raise errors.Invalid({"events": f"No event is named {', '.join(wrong)}. Write *, a kind as in model.*, or names of {names}."})
    if webhook.model_name is not None and unit.models.definition(webhook.model_name) is None:
        raise errors.Invalid({"model_name": unknown(webhook.model_name).message})


def _assert_enabled(webhook: Webhook) -> None:
    if not webhook.enabled:
        raise errors.Conflict(f"The webhook {webhook.id} is not enabled. Enable it (PATCH, enabled: true): what waited is sent then.")
