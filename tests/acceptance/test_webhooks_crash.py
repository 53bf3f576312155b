"""Real processes on both sides: mlsys killed or cut off at each bad moment, receivers that are down; every event arrives, once or more."""

import contextlib
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import front
import pytest
import serving
import urllib3
from proxy import Proxy
from serving import Served, free_port, until

from mlsys.crashing import STATUS, VARIABLE

HERE = Path(__file__).parent
NODE = HERE / "node"
POINTS = ("delivery claimed", "delivery sent", "delivery noted")
FAST = {"MLSYS_WEBHOOKS__ALLOWED_HOSTS": "127.0.0.1", "MLSYS_WEBHOOKS__RETRY_SCHEDULE": ",".join(["0.5"] * 100)}


@dataclass(kw_only=True)
class Subscriber:
    """A receiver in a process of its own. ``got``: what it has noted, verified or not."""

    port: int
    log: Path
    command: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @contextlib.contextmanager
    def up(self, secret: str) -> Iterator[None]:
        with subprocess.Popen([*self.command, str(self.port), secret, str(self.log)]) as process:
            try:
                yield
            finally:
                process.kill()

    def got(self) -> list[Any]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def has(self, sequences: set[int]) -> bool:
        return sequences <= {one.get("sequence") for one in self.got()}


def python(folder: Path) -> Subscriber:
    return Subscriber(port=free_port(), log=folder / "got.jsonl", command=[sys.executable, str(HERE / "receiver.py")])


@pytest.fixture
def place(tmp_path: Path) -> dict[str, Path]:
    return {"home": tmp_path / "home", "config": front.configure(tmp_path, {}), "data": tmp_path}


def subscribe(served: Served, url: str) -> Any:
    answer = served.call("POST", "/webhooks", {"url": url, "events": ["*"]})
    assert answer.status == 201, answer.body
    assert served.call("POST", "/datasets", {"name": "site", "timestamp": "time"}).status == 201
    return answer.body


def append(served: Served, number: int) -> bool:
    """Whether the row, and with it an event, was acknowledged."""
    row = {"time": f"2020-01-01T{number // 60:02d}:{number % 60:02d}:00Z", "value": number}
    try:
        return served.call("POST", "/datasets/site/rows", [row]).status == 201
    except urllib3.exceptions.HTTPError:
        return False


def sequences(served: Served) -> set[int]:
    """Of all events of the log."""
    found: list[Any] = []
    while more := served.call("GET", f"/events?limit=200&after_sequence={found[-1]['sequence'] if found else 0}").body["items"]:
        found += more
    return {event["sequence"] for event in found}


def assert_whole(subscriber: Subscriber, expected: set[int], *, most: int = 1000) -> None:
    """Each came, at most so often, verified, always with the same id."""
    got = subscriber.got()
    assert [one for one in got if not one["ok"]] == []
    assert {one["sequence"] for one in got} == expected
    assert all(one["id"] == f"evt_{one['sequence']}" for one in got)
    assert max(Counter(one["id"] for one in got).values()) <= most


def test_kill__at_each_point_of_a_delivery_loses_nothing(place: dict[str, Path], tmp_path: Path) -> None:
    subscriber = python(tmp_path)
    with serving.serve(**place, **FAST) as served:
        secret = subscribe(served, subscriber.url)["secret"]
    with subscriber.up(secret):
        for number, point in enumerate(POINTS):
            with serving.serve(**place, **FAST, **{VARIABLE: point}) as served:
                append(served, number)
                assert served.process.wait(30) == STATUS, point
        with serving.serve(**place, **FAST) as served:
            assert append(served, 10)
            served.kill()  # right after the commit
        with serving.serve(**place, **FAST) as served:
            expected = until(lambda: (found := sequences(served)) and len(found) >= 2 and found)
            until(lambda: subscriber.has(expected))
            webhook = served.call("GET", "/webhooks").body["items"][0]
            until(lambda: served.call("GET", f"/webhooks/{webhook['id']}").body["pending"] == 0)
            assert_whole(subscriber, expected, most=3)


def test_kill__at_any_moment_under_load_loses_nothing(place: dict[str, Path], tmp_path: Path) -> None:
    subscriber = python(tmp_path)
    chance = random.Random(6)
    number = acknowledged = 0
    with serving.serve(**place, **FAST) as served:
        secret = subscribe(served, subscriber.url)["secret"]
    with subscriber.up(secret):
        for _ in range(3):
            with serving.serve(**place, **FAST) as served:
                for _ in range(5):
                    acknowledged += append(served, number)
                    number += 1
                killer = threading.Timer(chance.uniform(0, 0.5), served.kill)
                killer.start()
                while served.process.poll() is None:
                    acknowledged += append(served, number)
                    number += 1
                killer.join()
        with serving.serve(**place, **FAST) as served:
            expected = sequences(served)
            assert len(expected) >= acknowledged > 10
            until(lambda: subscriber.has(sequences(served)))
            assert_whole(subscriber, sequences(served))


def test_database__cut_in_the_middle_loses_nothing(place: dict[str, Path], tmp_path: Path, embedded_server: Any) -> None:
    subscriber = python(tmp_path)
    url = embedded_server.clone()
    with Proxy(url) as proxy, serving.serve(**place, **FAST, MLSYS_DATABASE__URL=proxy.url) as served:
        secret = subscribe(served, subscriber.url)["secret"]
        with subscriber.up(secret):
            acknowledged = 0
            for number in range(60):
                if number == 20:
                    threading.Timer(0.05, proxy.cut).start()
                if number == 40:
                    time.sleep(3)
                    proxy.mend()
                acknowledged += append(served, number)
            until(lambda: served.call("GET", "/health/").status == 200)
            expected = until(lambda: (found := sequences(served)) and len(found) >= acknowledged and found)
            until(lambda: subscriber.has(expected), 60)
            assert_whole(subscriber, expected)
            assert acknowledged >= 35
    embedded_server.drop(url)


def test_receiver__down_for_a_while_gets_every_event_once_it_is_up(place: dict[str, Path], tmp_path: Path) -> None:
    subscriber = python(tmp_path)
    with serving.serve(**place, **FAST) as served:
        webhook = subscribe(served, subscriber.url)
        assert all(append(served, number) for number in range(30))
        expected = until(lambda: (found := sequences(served)) and len(found) == 30 and found)
        until(lambda: served.call("GET", f"/webhooks/{webhook['id']}").body["failing"])
        time.sleep(2)
        assert all(append(served, 30 + number) for number in range(10))
        with subscriber.up(webhook["secret"]):
            until(lambda: subscriber.has(set(range(1, 41))))
        assert_whole(subscriber, set(range(1, 41)), most=2)
        listed = served.call("GET", f"/webhooks/{webhook['id']}/deliveries?limit=200").body["items"]
        assert any(len(delivery["attempts"]) > 2 for delivery in listed)
        assert expected < set(range(1, 41))


@pytest.mark.needs_parts
def test_receiver__in_node_verifies_every_delivery(place: dict[str, Path], tmp_path: Path) -> None:
    if shutil.which("node") is None or not (NODE / "node_modules" / "standardwebhooks").exists():
        pytest.skip(f"node with its standardwebhooks package is not here: npm install --no-package-lock --prefix {NODE}")
    subscriber = Subscriber(port=free_port(), log=tmp_path / "got.jsonl", command=["node", str(NODE / "receiver.js")])
    with serving.serve(**place, **FAST) as served:
        webhook = subscribe(served, subscriber.url)
        with subscriber.up(webhook["secret"]):
            assert all(append(served, number) for number in range(20))
            served.call("POST", f"/webhooks/{webhook['id']}/rotate")  # the receiver still has the old secret
            assert all(append(served, 20 + number) for number in range(20))
            until(lambda: subscriber.has(set(range(1, 41))))
        assert_whole(subscriber, set(range(1, 41)), most=20)
