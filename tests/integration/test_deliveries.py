"""Deliveries: every event reaches every endpoint that asked for it, signed, tried again as told, each attempt in the log."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import front
import hooking
import pytest
import receivers
import sqlalchemy as sa
from front import World
from hooking import deliveries, emit, subscribe, until
from receivers import Received

QUICK = hooking.ALLOWED | {"webhooks.retry_schedule": [0.1, 0.2, 0.3], "webhooks.timeout_seconds": 2}
Make = Callable[..., World]


@pytest.fixture
def make(embedded_server: Any, tmp_path: Path) -> Iterator[Make]:
    """Systems on one database, with short pauses between attempts."""
    url = embedded_server.clone()
    opened: list[Any] = []

    def one(models: Any = None, **overrides: Any) -> World:
        context = front.started(tmp_path / str(len(opened)), url, models or {}, **QUICK | overrides)
        opened.append(context)
        return context.__enter__()  # type: ignore[no-any-return]

    yield one
    for context in reversed(opened):
        context.__exit__(None, None, None)
    embedded_server.drop(url)


def test_delivery__is_as_standard_webhooks_has_it(make: Make) -> None:
    world = make()
    with receivers.receiving() as receiver:
        made = subscribe(world.client, receiver.url)
        emit(world.system.services.units, data={"text": "ünï ☃"})
        until(lambda: receiver.got)
        (event,) = hooking.verified(receiver, made["secret"])
        one = receiver.got[0]
        assert set(event) == {"type", "timestamp", "sequence", "data"}
        assert (event["type"], event["sequence"], event["data"]) == ("data.appended", 1, {"number": 0, "text": "ünï ☃"})
        assert event["timestamp"].endswith("Z")
        assert (one.headers["webhook-id"], one.headers["content-type"]) == ("evt_1", "application/json")
        assert one.headers["user-agent"].startswith("mlsys/")
        assert abs(int(one.headers["webhook-timestamp"]) - time.time()) < 10
        (delivery,) = until(lambda: deliveries(world.client, made["id"], state="delivered"))
        assert (delivery["event_id"], delivery["sequence"], delivery["type"]) == ("evt_1", 1, "data.appended")
        assert (delivery["state"], delivery["status"], delivery["error"], delivery["next_retry_at"]) == ("delivered", 204, None, None)
        (attempt,) = delivery["attempts"]
        assert (attempt["attempt"], attempt["status"]) == (1, 204)
        assert 0 < attempt["latency_ms"] < 2000


def test_deliveries__go_to_those_whose_patterns_and_model_fit_from_their_creation_on(make: Make) -> None:
    world = make({"quick": front.definition(), "other": front.definition()})
    units = world.system.services.units
    with receivers.receiving() as receiver:
        front.train(world.client)
        until(lambda: hooking.numbered(units))
        names = {"all": ["*"], "kind": ["model.*"], "two": ["model.rejected", "data.revised"]}
        for name, patterns in names.items():
            subscribe(world.client, receiver.url.replace("/hook", f"/{name}"), *patterns)
        subscribe(world.client, receiver.url.replace("/hook", "/mine"), "*", model_name="quick")
        for type in ("model.rejected", "model.accepted", "data.revised"):
            emit(units, type=type, data={"model_name": "other"})
        emit(units, type="model.created", data={"model_name": "quick"})
        emit(units, type="data.appended")
        until(lambda: len(receiver.got) == 5 + 3 + 2 + 1)
        got = {name: sorted(one.event["type"] for one in receiver.got if one.path == f"/{name}") for name in (*names, "mine")}
    assert got == {
        "all": ["data.appended", "data.revised", "model.accepted", "model.created", "model.rejected"],
        "kind": ["model.accepted", "model.created", "model.rejected"],
        "two": ["data.revised", "model.rejected"],
        "mine": ["model.created"],
    }


def test_delivery__that_fails_is_tried_again_with_the_same_id_and_a_fresh_signature(make: Make) -> None:
    world = make(**{"webhooks.retry_schedule": [1.2, 0.1]})
    statuses = [500, 302, 200]
    with receivers.receiving(lambda _: statuses.pop(0)) as receiver:
        made = subscribe(world.client, receiver.url)
        emit(world.system.services.units)
        (delivery,) = until(lambda: deliveries(world.client, made["id"], state="delivered"))
        hooking.verified(receiver, made["secret"])
        assert {one.headers["webhook-id"] for one in receiver.got} == {"evt_1"}
        assert {one.body for one in receiver.got} == {receiver.got[0].body}
        first, second = receiver.got[:2]
        for name in ("webhook-timestamp", "webhook-signature"):
            assert first.headers[name] != second.headers[name]
        assert 1.1 < second.at - first.at < 30
    assert [(a["attempt"], a["status"], a["error"] is None) for a in delivery["attempts"]] == [
        (1, 500, False),
        (2, 302, False),
        (3, 200, True),
    ]
    assert "redirects are not followed" in delivery["attempts"][1]["error"]
    assert [a["next_retry_at"] is None for a in delivery["attempts"]] == [False, False, True]


def test_delivery__that_is_given_up_disables_the_webhook_and_loses_nothing(make: Make) -> None:
    world = make()
    units = world.system.services.units
    with receivers.receiving() as other, receivers.receiving(lambda _: 500) as dead:
        watching = subscribe(world.client, other.url, "webhook.*")
        made = subscribe(world.client, dead.url, "data.*", description="dead")
        path = f"/webhooks/{made['id']}"
        emit(units)
        until(lambda: not world.client.get(path).json["enabled"])  # type: ignore[index]
        assert len(dead.got) == 4
        shown = world.client.get(path).json
        assert shown is not None
        assert "all 4 attempts failed; the last: answered 500" in shown["disabled"]["reason"]
        until(lambda: other.got)
        (event,) = hooking.verified(other, watching["secret"])
        assert (event["type"], event["data"]["webhook_id"], event["data"]["description"]) == ("webhook.disabled", made["id"], "dead")
        assert dead.url not in str(event)
        check = world.client.get("/health/").json["checks"]["webhooks"]  # type: ignore[index]
        assert (check["status"], check["disabled"]) == ("degraded", [made["id"]])
        emit(units, 3)
        (waiting,) = deliveries(world.client, made["id"])
        assert waiting["state"] == "pending"
        for call in (f"/deliveries/{waiting['id']}/redeliver", f"{path}/replay?after_sequence=0"):
            front.errors_of(world.client.post(call), 409)
        dead.answer = lambda _: 200
        dead.got.clear()
        enabled = world.client.patch(path, json={"enabled": True}).json
        assert enabled is not None
        assert (enabled["enabled"], enabled["disabled"]) == (True, None)
        until(lambda: len(dead.got) == 4)
        assert sorted(dead.sequences()) == [1, 3, 4, 5]
        assert world.client.get("/health/").json["checks"]["webhooks"]["status"] == "ok"  # type: ignore[index]


def test_delivery__one_event_that_a_receiver_does_not_take_fails_alone(make: Make) -> None:
    world = make()
    with receivers.receiving(lambda one: 500 if one.event["sequence"] == 1 else 200) as receiver:
        made = subscribe(world.client, receiver.url)
        emit(world.system.services.units, 3)
        (failed,) = until(lambda: deliveries(world.client, made["id"], state="failed"))
        assert (failed["sequence"], len(failed["attempts"]), failed["next_retry_at"]) == (1, 4, None)
        shown = world.client.get(f"/webhooks/{made['id']}").json
        assert shown is not None
        assert (shown["enabled"], shown["pending"]) == (True, 0)
        receiver.answer = lambda _: 200
        again = world.client.post(f"/deliveries/{failed['id']}/redeliver")
        assert again.status_code == 202
        (one,) = until(lambda: [d for d in deliveries(world.client, made["id"], state="delivered") if d["sequence"] == 1])
        assert [a["attempt"] for a in one["attempts"]] == [1, 2, 3, 4, 5]


def test_delivery__410_disables_at_once(make: Make) -> None:
    world = make()
    with receivers.receiving(lambda _: 410) as receiver:
        made = subscribe(world.client, receiver.url, "data.*")
        emit(world.system.services.units)
        until(lambda: not world.client.get(f"/webhooks/{made['id']}").json["enabled"])  # type: ignore[index]
        assert "410 Gone" in world.client.get(f"/webhooks/{made['id']}").json["disabled"]["reason"]  # type: ignore[index]
        assert len(receiver.got) == 1


@pytest.mark.parametrize("form", ["seconds", "date", "nonsense"])
def test_delivery__retry_after_is_honoured(make: Make, form: str) -> None:
    world = make()

    def busy(_: Received) -> Any:
        date = datetime.now(UTC) + timedelta(seconds=300)
        return 503, {"Retry-After": {"seconds": "300", "date": format_datetime(date, usegmt=True), "nonsense": "soon"}[form]}

    with receivers.receiving(busy) as receiver:
        made = subscribe(world.client, receiver.url)
        emit(world.system.services.units)
        (delivery,) = until(lambda: [d for d in deliveries(world.client, made["id"]) if d["attempts"]])
        attempt = delivery["attempts"][0]
        pause = datetime.fromisoformat(attempt["next_retry_at"]) - datetime.fromisoformat(attempt["at"])
        assert (form == "nonsense") or timedelta(seconds=295) < pause <= timedelta(seconds=301)
        assert (form != "nonsense") or pause < timedelta(seconds=2)


def test_pause__holds_events_back_and_loses_none(make: Make) -> None:
    world = make()
    units = world.system.services.units
    with receivers.receiving() as receiver:
        made = subscribe(world.client, receiver.url)
        emit(units, 2)
        until(lambda: len(receiver.got) == 2)
        world.client.patch(f"/webhooks/{made['id']}", json={"enabled": False})
        emit(units, 3)
        with receivers.receiving() as other:
            subscribe(world.client, other.url)
            emit(units)
            until(lambda: other.got)
        assert len(receiver.got) == 2
        check = world.client.get("/health/").json["checks"]["webhooks"]  # type: ignore[index]
        assert (check["paused"], check["disabled"]) == (1, [])
        world.client.patch(f"/webhooks/{made['id']}", json={"enabled": True})
        until(lambda: len(receiver.got) == 6)
        assert sorted(receiver.sequences()) == [1, 2, 3, 4, 5, 6]


def test_replay__sends_each_event_after_a_sequence_once_more_with_its_old_id(make: Make) -> None:
    world = make()
    units = world.system.services.units
    with receivers.receiving() as receiver:
        emit(units, 2)
        until(lambda: hooking.numbered(units))
        made = subscribe(world.client, receiver.url, "data.*")
        emit(units, 150)
        emit(units, type="model.created")
        until(lambda: len(receiver.got) == 150)
        until(lambda: len(deliveries(world.client, made["id"], state="delivered")) == 150)
        before = {one.headers["webhook-id"]: one.body for one in receiver.got}
        receiver.got.clear()
        path = f"/webhooks/{made['id']}/replay"
        answer = world.client.post(path, query_string={"after_sequence": 50})
        assert (answer.status_code, answer.json) == (202, {"after_sequence": 50, "events": 102})
        until(lambda: len(receiver.got) == 102)
        assert sorted(receiver.sequences()) == list(range(51, 153))
        assert all(before[one.headers["webhook-id"]] == one.body for one in receiver.got)
        hooking.verified(receiver, made["secret"])
        until(lambda: len(deliveries(world.client, made["id"], state="delivered")) == 150)
        receiver.got.clear()
        with world.system.engine.begin() as connection:  # as after their retention
            connection.execute(sa.text("DELETE FROM deliveries"))
        assert world.client.post(path, query_string={"after_sequence": 0}).json["events"] == 152  # type: ignore[index]
        until(lambda: len(receiver.got) == 152)
        assert {one.headers["webhook-id"] for one in receiver.got} == {f"evt_{n}" for n in range(1, 153)}
        time.sleep(0.3)
        assert len(receiver.got) == 152
        for wrong in ({}, {"after_sequence": -1}, {"after_sequence": "x"}):
            assert list(front.errors_of(world.client.post(path, query_string=wrong))) == ["after_sequence"]


def test_replay__after_an_outage_waits_for_no_retry(make: Make) -> None:
    world = make(**{"webhooks.retry_schedule": [3600]})
    with receivers.receiving(lambda _: 500) as receiver:
        made = subscribe(world.client, receiver.url)
        emit(world.system.services.units, 3)
        until(lambda: len([d for d in deliveries(world.client, made["id"]) if d["attempts"]]) == 3)
        receiver.answer = lambda _: 200
        receiver.got.clear()
        world.client.post(f"/webhooks/{made['id']}/replay?after_sequence=1")
        until(lambda: len(deliveries(world.client, made["id"], state="delivered")) == 2)
        assert sorted(receiver.sequences()) == [2, 3]


def test_redeliver__names_what_is_not_there(make: Make) -> None:
    world = make()
    for id in ("1", "x", "9" * 30):
        front.errors_of(world.client.post(f"/deliveries/{id}/redeliver"), 404)


def test_deliveries__one_slow_and_one_dead_endpoint_delay_no_other(make: Make) -> None:
    world = make(**{"webhooks.threads": 4, "webhooks.timeout_seconds": 60})
    released = threading.Event()

    def slow(_: Received) -> int:
        released.wait(60)
        return 200

    with (
        receivers.receiving(slow) as one,
        receivers.speaking(lambda _: released.wait(60)) as dead,
        receivers.receiving() as healthy,
    ):
        for url in (one.url, dead):
            subscribe(world.client, url)
        made = subscribe(world.client, healthy.url)
        emit(world.system.services.units, 40)
        until(lambda: len(healthy.got) == 40)
        assert len(one.got) == 1, "it has not answered yet: one thread at a time"
        released.set()
        until(lambda: len(one.got) == 40)
        hooking.verified(healthy, made["secret"])


def pour(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 1000000000\r\n\r\n")
    for _ in range(10_000):
        connection.sendall(b"x" * 100_000)


def drip(connection: socket.socket) -> None:
    for letter in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":
        connection.sendall(bytes([letter]))
        time.sleep(1)


BAD = {
    "garbage": (lambda connection: connection.sendall(b"\x00\xffnothing\r\n\r\n"), "No HTTP answer"),
    "a gigabyte": (pour, "answered 500"),
    "a byte a second": (drip, "No whole answer within 1 s."),
    "never": (lambda connection: time.sleep(20), "No whole answer within 1 s."),
}


def test_deliveries__bad_receivers_are_told_of_and_delay_no_other(make: Make) -> None:
    world = make(**{"webhooks.timeout_seconds": 1, "webhooks.retry_schedule": [3600]})
    with contextlib.ExitStack() as stack:
        bad = {name: stack.enter_context(receivers.speaking(say)) for name, (say, _) in BAD.items()}
        healthy = stack.enter_context(receivers.receiving())
        ids = {name: subscribe(world.client, url)["id"] for name, url in bad.items()}
        subscribe(world.client, healthy.url)
        emit(world.system.services.units, 5)
        until(lambda: len(healthy.got) == 5)
        for name, (_, error) in BAD.items():
            id = ids[name]
            listed = until(lambda: [d for d in deliveries(world.client, id) if d["attempts"]])  # noqa: B023 (called before it changes)
            assert error in listed[-1]["error"], name
            assert listed[-1]["state"] == "pending"


def test_deliveries__by_two_processes_come_once_each(make: Make) -> None:
    leader, standby = make(), make()
    with receivers.receiving(lambda _: time.sleep(0.02) or 204) as receiver:
        made = subscribe(leader.client, receiver.url)
        # two homes, two keys: the standby leaves to the leader what it cannot sign
        emit(standby.system.services.units, 60)
        until(lambda: len(deliveries(standby.client, made["id"], state="delivered")) == 60)
        assert sorted(receiver.sequences()) == list(range(1, 61))


def test_deliveries__by_two_processes_with_one_key_come_once_each(make: Make) -> None:
    key = {"webhooks.secret_key": "zH8c3kq9xYBvJx0u2nq2mM4V7d6pQm1f0w5R8yT3aKs="}
    first, second = make(**key), make(**key)
    with receivers.receiving(lambda _: time.sleep(0.02) or 204) as receiver:
        made = subscribe(first.client, receiver.url)
        emit(second.system.services.units, 200)
        until(lambda: len(deliveries(first.client, made["id"], state="delivered")) == 200)
        assert sorted(receiver.sequences()) == list(range(1, 201))


def test_deliveries__many_writers_some_rolled_back_and_no_event_is_missing_or_twice(make: Make) -> None:
    world = make()
    units = world.system.services.units

    def write(number: int) -> bool:
        with units() as unit:
            unit.events.append("data.appended", {"writer": number})
            if number % 7 == 0:
                time.sleep(0.05)
            if number % 5 == 0:
                return False
            unit.commit()
            return True

    with receivers.receiving() as receiver:
        made = subscribe(world.client, receiver.url)
        with ThreadPoolExecutor(8) as pool:
            kept = [number for number, committed in zip(range(1000), pool.map(write, range(1000)), strict=True) if committed]
        until(lambda: len(receiver.got) >= len(kept), 60)
        time.sleep(0.5)
        assert sorted(event["data"]["writer"] for event in hooking.verified(receiver, made["secret"])) == kept
        assert sorted(receiver.sequences()) == list(range(1, 801))


def test_retention__takes_what_was_delivered_and_nothing_else(make: Make) -> None:
    world = make()
    units = world.system.services.units
    with receivers.receiving(lambda one: 500 if one.path == "/bad" else 200) as receiver:
        good = subscribe(world.client, receiver.url, "data.*")
        bad = subscribe(world.client, receiver.url.replace("/hook", "/bad"), "data.*")
        emit(units, 3)
        until(lambda: len(deliveries(world.client, good["id"], state="delivered")) >= 3)
        until(lambda: not world.client.get(f"/webhooks/{bad['id']}").json["enabled"])  # type: ignore[index]
    with world.system.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE deliveries SET created_at = created_at - interval '31 days', finished_at = finished_at - interval '31 days'")
        )
    world.system.upkeep.collector.tidy()
    assert deliveries(world.client, good["id"], state="delivered") == []
    assert len(deliveries(world.client, bad["id"])) == 3
    with world.system.engine.connect() as connection:
        orphans = "SELECT count(*) FROM delivery_attempts WHERE delivery_id NOT IN (SELECT id FROM deliveries)"
        assert connection.scalar(sa.text(orphans)) == 0
