"""GET /events and /events/stream: pages in order, long polls, server-sent events, and what is refused."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import front
import pytest
from front import World
from serving import until

from mlsys.api import events as api

TYPES = ["run.queued", "run.started", "model.created", "model.accepted", "model.promoted", "run.succeeded"]


@pytest.fixture(scope="module")
def lived(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two models, each trained once, and both followers' places."""
    url = embedded_server.clone()
    models = {"quick": front.definition(), "other": front.definition()}
    with front.started(tmp_path_factory.mktemp("events"), url, models, **{"server.max_followers": 2}) as world:
        for name in models:
            front.train(world.client, model_name=name)
        until(lambda: page(world)["last_sequence"] == 2 * len(TYPES))
        yield world
    embedded_server.drop(url)


def page(world: World, **query: Any) -> Any:
    answer = world.client.get("/events", query_string=query)
    assert answer.status_code == 200, answer.text
    return answer.json


def test_events__are_envelopes_in_order_without_a_gap(lived: World) -> None:
    found = page(lived)
    assert [sorted(item) for item in found["items"]] == [["data", "sequence", "timestamp", "type"]] * 12
    assert [item["sequence"] for item in found["items"]] == list(range(1, 13))
    assert [item["type"] for item in found["items"]] == TYPES * 2
    assert (found["next_cursor"], found["last_sequence"]) == (None, 12)
    assert page(lived, after_sequence=10)["items"] == found["items"][10:]


def test_events__come_in_pages_by_cursor_or_by_sequence(lived: World) -> None:
    whole, by_cursor, by_sequence = page(lived)["items"], [], []
    query: dict[str, Any] = {}
    while query is not None:
        found = page(lived, limit=5, **query)
        by_cursor += found["items"]
        query = {"cursor": found["next_cursor"]} if found["next_cursor"] else None  # type: ignore[assignment]
    after = 0
    while (found := page(lived, limit=5, after_sequence=after))["items"]:
        by_sequence += found["items"]
        after = found["last_sequence"]
    assert by_cursor == by_sequence == whole


def test_events__are_chosen_by_type_and_model_and_tell_how_far_was_looked(lived: World) -> None:
    found = page(lived, type="model.promoted,run.queued", model_name="quick")
    assert [item["type"] for item in found["items"]] == ["run.queued", "model.promoted"]
    assert {item["data"]["model_name"] for item in found["items"]} == {"quick"}
    assert found["last_sequence"] == 12
    assert [item["type"] for item in page(lived, type="model.*")["items"]] == TYPES[2:5] * 2
    assert page(lived, type="*")["last_sequence"] == 12
    assert page(lived, type="model.rejected") == {"items": [], "next_cursor": None, "last_sequence": 12}
    first = page(lived, type="run.succeeded", limit=1)
    assert (first["last_sequence"], len(first["items"])) == (6, 1)


def test_events__a_reader_ahead_of_a_log_that_was_restored_is_brought_back(lived: World) -> None:
    assert page(lived, after_sequence=4711) == {"items": [], "next_cursor": None, "last_sequence": 12}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"after_sequence": "-1"}, "after_sequence"),
        ({"after_sequence": "x"}, "after_sequence"),
        ({"after_sequence": str(2**63)}, "after_sequence"),
        ({"wait": "61"}, "wait"),
        ({"wait": "nan"}, "wait"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "YWZ0ZXI6NQ", "after_sequence": "1"}, "cursor"),
        ({"type": "model.rejectd"}, "type"),
        ({"type": ""}, "type"),
        ({"after": "1"}, "after"),
    ],
)
def test_events__what_cannot_be_meant_is_refused(lived: World, query: dict[str, str], field: str) -> None:
    assert list(front.errors_of(lived.client.get("/events", query_string=query))) == [field]


def test_stream__what_cannot_be_meant_is_refused(lived: World) -> None:
    for told in ("x", "-1", str(2**63)):
        assert list(front.errors_of(lived.client.get("/events/stream", headers={"Last-Event-ID": told}))) == ["Last-Event-ID"]
    assert list(front.errors_of(lived.client.get("/events/stream?wait=1"))) == ["wait"]


def stream(world: World, query: str = "", **headers: str) -> Any:
    return world.client.get(f"/events/stream{query}", headers={k.replace("_", "-"): v for k, v in headers.items()}, buffered=False)


def messages(answer: Any, count: int) -> list[tuple[int, Any]]:
    """(id, data) of the first ``count`` messages that have data, as a browser would see them."""
    found: list[tuple[int, Any]] = []
    text = b""
    for part in answer.iter_encoded():
        text += part
        *whole, text = text.split(b"\n\n")
        for block in whole:
            lines = dict(line.split(b": ", 1) for line in block.split(b"\n"))
            if b"data" in lines:
                found.append((int(lines[b"id"]), json.loads(lines[b"data"])))
        if len(found) >= count:
            return found
    return found


def test_stream__sends_envelopes_and_goes_on_after_the_last_event_id(lived: World) -> None:
    whole = page(lived)["items"]
    with stream(lived, "?after_sequence=0") as answer:
        assert (answer.mimetype, answer.headers["Cache-Control"]) == ("text/event-stream", "no-store")
        assert messages(answer, 12) == [(item["sequence"], item) for item in whole]
    with stream(lived, "?after_sequence=0", Last_Event_ID="10") as answer:
        assert [id for id, _ in messages(answer, 2)] == [11, 12]
    with stream(lived, "?after_sequence=0&type=model.promoted&model_name=other") as answer:
        assert [data["type"] for _, data in messages(answer, 1)] == ["model.promoted"]


def test_stream__holds_a_place_until_it_ends_and_one_too_many_is_refused(lived: World) -> None:
    for _ in range(5):  # a HEAD is never read, and holds nothing
        assert lived.client.head("/events/stream").status_code == 200
    with stream(lived), stream(lived):
        for refused in (stream(lived), lived.client.get("/events?wait=1")):
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert page(lived)["last_sequence"] == 12, "who does not wait needs no place"
    with stream(lived) as answer:
        assert answer.status_code == 200


def test_stream__of_nothing_beats_and_tells_how_far_it_is(lived: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "HEARTBEAT_SECONDS", 0.05)
    with stream(lived, "?after_sequence=0&type=model.rejected") as answer:
        parts = answer.iter_encoded()
        assert next(parts) == b"retry: 2000\nid: 0\n\n"
        assert [next(parts) for _ in range(3)] == [b": \nid: 12\n\n"] * 3


def test_wait__holds_the_answer_until_there_is_such_an_event_and_ends_with_the_process(embedded_server: Any, tmp_path: Path) -> None:
    url = embedded_server.clone()
    with front.started(tmp_path, url, {"quick": front.definition()}) as world:
        started = time.monotonic()
        assert page(world, wait=0.3) == {"items": [], "next_cursor": None, "last_sequence": 0}
        assert time.monotonic() - started >= 0.3
        held: list[Any] = []
        waiting = threading.Thread(target=lambda: held.append(page(world, wait=60, type="run.succeeded")))
        waiting.start()
        front.train(world.client)
        waiting.join(20)
        assert [item["type"] for item in held[0]["items"]] == ["run.succeeded"]
        last = threading.Thread(target=lambda: held.append(page(world, wait=60, type="run.failed")))
        last.start()
        with stream(world) as followed:
            next(parts := followed.iter_encoded())
            world.system.publisher.stop()
            assert list(parts) == []
            last.join(20)
        assert held[1]["items"] == []
    embedded_server.drop(url)
