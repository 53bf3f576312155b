"""Subscriptions through the API: made, listed, changed, paused, tested, rotated, removed; the secret shown once and stored encrypted."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import front
import hooking
import pytest
import receivers
import sqlalchemy as sa
from front import World
from standardwebhooks import Webhook, WebhookVerificationError

URL = "http://93.184.215.14/hook"  # a number: nothing is looked up, and nothing sent there
NEW = {"url": URL, "events": ["model.*"]}


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = embedded_server.clone()
    models = {"quick": front.definition()}
    with front.started(tmp_path_factory.mktemp("hooks"), url, models, **hooking.ALLOWED) as found:
        yield found
    embedded_server.drop(url)


def test_webhooks__made_shown_listed_and_removed(world: World) -> None:
    answer = world.client.post("/webhooks", json=NEW | {"model_name": "quick", "description": "pager"})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    made = answer.json
    assert made is not None
    assert answer.headers["Location"] == f"/webhooks/{made['id']}"
    assert made["secret"].startswith("whsec_")
    shown = world.client.get(answer.headers["Location"]).json
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert (shown["url"], shown["events"], shown["model_name"], shown["description"]) == (NEW["url"], ["model.*"], "quick", "pager")
    assert (shown["enabled"], shown["disabled"], shown["pending"], shown["failing"]) == (True, None, 0, False)
    listed = world.client.get("/webhooks").json
    assert listed is not None
    assert listed["items"][0] == shown
    assert world.client.delete(f"/webhooks/{made['id']}").status_code == 204
    for method, path in (("get", ""), ("delete", ""), ("get", "/deliveries"), ("post", "/test"), ("post", "/rotate")):
        front.errors_of(world.client.open(f"/webhooks/{made['id']}{path}", method=method), 404)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": "http://127.0.0.2/"}, "url"),
        ({"url": "http://localhost/"}, "url"),
        ({"url": "http://user:pw@93.184.215.14/"}, "url"),
        ({"url": "ftp://93.184.215.14/"}, "url"),
        ({"url": 7}, "url"),
        ({"events": []}, "events"),
        ({"events": ["model.promted"]}, "events"),
        ({"events": ["models.*"]}, "events"),
        ({"events": ["model*"]}, "events"),
        ({"events": "model.*"}, "events"),
        ({"model_name": "unknown"}, "model_name"),
        ({"enabled": "maybe"}, "enabled"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
def test_webhooks__bad_fields_are_named_at_creation_and_change(world: World, change: dict[str, Any], field: str) -> None:
    assert list(front.errors_of(world.client.post("/webhooks", json=NEW | change))) == [field]
    made = hooking.subscribe(world.client, URL, "webhook.*")
    assert list(front.errors_of(world.client.patch(f"/webhooks/{made['id']}", json=change))) == [field]
    now = world.client.get(f"/webhooks/{made['id']}").json
    assert now == {name: value for name, value in made.items() if name != "secret"}
    world.client.delete(f"/webhooks/{made['id']}")


def test_webhooks__each_change_is_a_row_of_the_log_and_the_past_can_be_asked(world: World) -> None:
    made = hooking.subscribe(world.client, "http://93.184.215.14/first", "model.*")
    path = f"/webhooks/{made['id']}"
    changed = world.client.patch(path, json={"url": "http://93.184.215.14/second", "description": "moved"}).json
    assert changed is not None
    same = world.client.patch(path, json={"description": "moved"}).json
    assert same == changed, "no change, no row"
    world.client.patch(path, json={"enabled": False})
    gone = datetime.now(UTC)
    world.client.delete(path)
    after = datetime.now(UTC)
    with world.system.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT definition, deleted FROM webhooks WHERE id = :id ORDER BY seq"), {"id": made["id"]}).all()
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            connection.execute(sa.text("DELETE FROM webhooks"))
    assert [(row.definition["url"][-6:], row.definition["enabled"], row.deleted) for row in rows] == [
        ("/first", True, False),
        ("second", True, False),
        ("second", False, False),
        ("second", False, True),
    ]
    for instant, url, enabled in (
        (made["created_at"], "http://93.184.215.14/first", True),
        (changed["updated_at"], "http://93.184.215.14/second", True),
        (gone.isoformat(), "http://93.184.215.14/second", False),
    ):
        then = world.client.get(path, query_string={"as_of": instant}).json
        assert then is not None
        assert (then["url"], then["enabled"], then["created_at"], then["pending"]) == (url, enabled, made["created_at"], None)
        listed = world.client.get("/webhooks", query_string={"as_of": instant}).json["items"]  # type: ignore[index]
        assert then in listed
    front.errors_of(world.client.get(path, query_string={"as_of": after.isoformat()}), 404)


def test_secret__is_shown_once_and_stored_encrypted_by_a_key_of_the_home(world: World) -> None:
    headers = {"Idempotency-Key": "once"}
    made = world.client.post("/webhooks", json=NEW, headers=headers).json
    assert made is not None
    again = world.client.post("/webhooks", json=NEW, headers=headers)
    assert (again.json, again.headers["Idempotent-Replayed"]) == (made, "true")
    rotated = world.client.post(f"/webhooks/{made['id']}/rotate").json
    assert rotated is not None
    bare = [secret.removeprefix("whsec_")[:20] for secret in (made["secret"], rotated["secret"])]
    with world.system.engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        dump = [str(row) for name in names for row in connection.execute(sa.text(f'SELECT t::text FROM "{name}" t'))]
    assert not [row for row in dump if any(word in row for word in bare)]
    key = world.home / "webhooks.key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_rotate__both_secrets_sign_for_a_while(world: World) -> None:
    with receivers.receiving() as receiver:
        made = hooking.subscribe(world.client, receiver.url)
        for _ in range(2):
            world.client.post(f"/webhooks/{made['id']}/test")
            rotated = world.client.post(f"/webhooks/{made['id']}/rotate").json
        assert rotated is not None
        answer = world.client.post(f"/webhooks/{made['id']}/test")
        assert answer.json is not None
        assert answer.json["status"] == 204
        assert set(answer.json) == {"status", "latency_ms"}
        last = receiver.got[-1]
        assert last.headers["webhook-signature"].count("v1,") == 3
        for secret in (made["secret"], rotated["secret"]):
            assert Webhook(secret).verify(last.body, last.headers)["type"] == "webhook.test"
        with pytest.raises(WebhookVerificationError):
            Webhook(rotated["secret"]).verify(receiver.got[0].body, receiver.got[0].headers)
        with world.system.engine.begin() as connection:
            connection.execute(sa.text("UPDATE webhook_secrets SET expires_at = now() - interval '1 s' WHERE expires_at IS NOT NULL"))
        world.client.post(f"/webhooks/{made['id']}/test")
        assert receiver.got[-1].headers["webhook-signature"].count("v1,") == 1
        assert Webhook(rotated["secret"]).verify(receiver.got[-1].body, receiver.got[-1].headers)
        world.client.delete(f"/webhooks/{made['id']}")


def test_test__tells_status_and_latency_and_nothing_else(world: World) -> None:
    with receivers.receiving(lambda _: (302, {"Location": "http://127.0.0.1:1/"})) as receiver:
        made = hooking.subscribe(world.client, receiver.url, enabled=False)
        answer = world.client.post(f"/webhooks/{made['id']}/test").json
        assert answer is not None
        assert (answer["status"], answer["latency_ms"] > 0, sorted(answer)) == (302, True, ["latency_ms", "status"])
        assert len(receiver.got) == 1
        assert receiver.got[0].headers["webhook-id"].startswith("test_")
    answer = world.client.post(f"/webhooks/{made['id']}/test").json
    assert answer is not None
    assert (answer["status"], sorted(answer)) == (None, ["latency_ms", "status"])
    world.client.delete(f"/webhooks/{made['id']}")


def test_key__that_is_lost_is_told_of_and_a_new_secret_mends_it(embedded_server: Any, tmp_path: Path) -> None:
    url = embedded_server.clone()
    with receivers.receiving() as receiver:
        with front.started(tmp_path / "a", url, {}, **hooking.ALLOWED) as before:
            made = hooking.subscribe(before.client, receiver.url)
        with front.started(tmp_path / "b", url, {}, **hooking.ALLOWED) as after:  # another home, another key
            answer = after.client.post(f"/webhooks/{made['id']}/test")
            assert (answer.status_code, "webhooks.secret_key" in answer.text, "rotate" in answer.text) == (409, True, True)
            hooking.emit(hooking.units_of(after.system))
            check = after.client.get("/health/").json["checks"]["webhooks"]  # type: ignore[index]
            assert (check["status"], check["unreadable"]) == ("degraded", 1)
            assert receiver.got == []
            secret = after.client.post(f"/webhooks/{made['id']}/rotate").json["secret"]  # type: ignore[index]
            hooking.until(lambda: receiver.got)
            assert [event["sequence"] for event in hooking.verified(receiver, secret)] == [1]
            assert after.client.get("/health/").json["checks"]["webhooks"]["status"] == "ok"  # type: ignore[index]
    embedded_server.drop(url)


def test_key__of_the_configuration_is_used_by_processes_with_homes_of_their_own(embedded_server: Any, tmp_path: Path) -> None:
    url = embedded_server.clone()
    given = hooking.ALLOWED | {"webhooks.secret_key": "zH8c3kq9xYBvJx0u2nq2mM4V7d6pQm1f0w5R8yT3aKs="}
    with receivers.receiving() as receiver:
        with front.started(tmp_path / "a", url, {}, **given) as before:
            made = hooking.subscribe(before.client, receiver.url)
        with front.started(tmp_path / "b", url, {}, **given) as after:
            assert after.client.post(f"/webhooks/{made['id']}/test").json["status"] == 204  # type: ignore[index]
            assert not (after.home / "webhooks.key").exists()
        assert hooking.verified(receiver, made["secret"])
    embedded_server.drop(url)


def test_key__that_others_can_read_is_refused_at_start(world: World) -> None:
    key = world.home / "webhooks.key"
    key.chmod(0o644)
    try:
        sealer = type(world.system.services.sealer)(folder=world.home)
        with pytest.raises(Exception, match="chmod 600"):
            sealer.seal("text")
    finally:
        key.chmod(0o600)
    assert json.loads(json.dumps(world.client.get("/health/").json))["checks"]["webhooks"]["status"] == "ok"
