"""What tests of webhooks share: a system that may call loopback, events by hand, and looking until something has come about."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from flask.testing import FlaskClient
from receivers import Receiver
from standardwebhooks import Webhook

from mlsys.registry.unit_of_work import Units
from mlsys.system import System

ALLOWED = {"webhooks.allowed_hosts": ["127.0.0.1"]}


def subscribe(client: FlaskClient, url: str, *events: str, **more: Any) -> Any:
    """The new webhook, with its secret."""
    answer = client.post("/webhooks", json={"url": url, "events": list(events) or ["*"], **more})
    assert answer.status_code == 201, answer.text
    return answer.json


def emit(units: Units, count: int = 1, type: str = "data.appended", data: Mapping[str, Any] | None = None) -> None:
    """Events in one transaction."""
    with units() as unit:
        for number in range(count):
            unit.events.append(type, {"number": number, **(data or {})})
        unit.commit()


def numbered(units: Units) -> bool:
    """Whether all committed events have their numbers."""
    with units() as unit:
        return not unit.event_log.waiting()


def units_of(system: System) -> Units:
    return system.services.units


def until(found: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.02)
    return value


def verified(receiver: Receiver, secret: str) -> list[Any]:
    """All that came, checked by the library's own verifier."""
    return [Webhook(secret).verify(one.body, one.headers) for one in list(receiver.got)]


def deliveries(client: FlaskClient, id: str, **query: Any) -> list[Any]:
    """Newest first."""
    answer = client.get(f"/webhooks/{id}/deliveries", query_string={"limit": 200, **query})
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    items: list[Any] = answer.json["items"]
    return items
