"""Readers who follow the event log of a real server: beside everybody else's requests, and over a kill -9 in the middle of the writing."""

import contextlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import front
import pytest
import serving
import urllib3
from serving import Served, until

FOLLOWERS = 12


@pytest.fixture
def place(tmp_path: Path) -> dict[str, Path]:
    front.hourly().to_parquet(tmp_path / "hourly.parquet")
    return {"home": tmp_path / "home", "config": front.configure(tmp_path, {"quick": front.definition()}), "data": tmp_path}


class Following:
    """A thread that reads /events/stream, and comes back with the last id it saw, as a browser does."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[Any] = []
        self.ended = 0
        self._last = "0"
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                self._read()
            self.ended += 1
            time.sleep(0.2)

    def _read(self) -> None:
        with urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(2)) as http:
            answer = http.request("GET", f"{self.url}/events/stream", headers={"Last-Event-ID": self._last}, preload_content=False)
            for line in lines(answer):
                if line.startswith("id: "):
                    self._last = line.removeprefix("id: ")
                elif line.startswith("data: "):
                    self.seen.append(json.loads(line.removeprefix("data: ")))
                if self._stop:
                    return


def lines(answer: Any) -> Iterator[str]:
    text = ""
    for part in answer.read_chunked(decode_content=True):
        *whole, text = (text + part.decode()).split("\n")
        yield from whole


def append(served: Served, number: int) -> bool:
    """Whether the row was acknowledged."""
    row = {"time": f"2020-01-01T{number // 60:02d}:{number % 60:02d}:00Z", "value": number}
    try:
        return served.call("POST", "/datasets/site/rows", [row]).status in (200, 201)
    except urllib3.exceptions.HTTPError:
        return False


def test_followers__take_no_thread_of_the_others_and_go_when_the_server_does(place: dict[str, Path]) -> None:
    with serving.serve(**place, MLSYS_SERVER__THREADS="2") as served, ExitStack() as stack:
        followers = [Following(served.url) for _ in range(FOLLOWERS)]
        for follower in followers:
            stack.callback(follower.stop)
        words = serving.command("events", "--follow", "--home", place["home"], "--config", place["config"])
        following = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=serving.environment(place["data"]))
        stack.callback(following.wait, 20)
        stack.callback(following.kill)
        served.run("/job/train", front.TRAIN)
        until(lambda: all(len(follower.seen) == 6 for follower in followers))
        for follower in followers:
            assert [event["sequence"] for event in follower.seen] == [1, 2, 3, 4, 5, 6]
        assert following.stdout is not None
        told = [following.stdout.readline() for _ in range(6)]
        assert [re.split(r"\s+", line.strip())[0] for line in told] == list("123456")
        assert "model.promoted" in "".join(told)
        following.stdout.close()
        started = time.monotonic()
        assert served.terminate() == 0
        assert time.monotonic() - started < 20
        until(lambda: all(follower.ended for follower in followers))
    assert "Traceback" not in served.log.read_text()


def test_kill__in_the_middle_of_the_writing_loses_no_event(place: dict[str, Path]) -> None:
    acknowledged = 0
    with ExitStack() as stack:
        with serving.serve(**place) as served:
            served.call("POST", "/datasets", {"name": "site", "timestamp": "time"})
            follower = Following(served.url)
            stack.callback(follower.stop)
            threading.Timer(1.5, served.kill).start()
            while append(served, acknowledged):
                acknowledged += 1
        with serving.serve(**place) as again:
            follower.url = again.url
            for _ in range(20):
                assert append(again, acknowledged + 1)  # one that was cut off may have arrived
                acknowledged += 1
            last = until(lambda: again.call("GET", f"/events?after_sequence={acknowledged - 1}").body["items"])[-1]["sequence"]
            until(lambda: len(follower.seen) == last)
    assert acknowledged > 30
    assert [event["sequence"] for event in follower.seen] == list(range(1, last + 1)), "in order, without a gap, each once"
    rows = sum(event["data"]["rows"] for event in follower.seen)
    assert acknowledged <= rows <= acknowledged + 1, "what was acknowledged, and perhaps the one that the kill cut off"


def test_standby__whose_leader_is_killed_goes_on_numbering_and_its_readers_miss_nothing(
    place: dict[str, Path], tmp_path: Path, embedded_server: Any
) -> None:
    url = embedded_server.clone()
    acknowledged = 0
    with ExitStack() as stack:
        shared = {"MLSYS_DATABASE__URL": url, "MLSYS_ARTIFACTS__URL": str(tmp_path / "blobs")}
        leader = stack.enter_context(serving.serve(**place, **shared))
        standby = stack.enter_context(serving.serve(**place | {"home": tmp_path / "other"}, **shared))
        assert standby.call("GET", "/health/").body["checks"]["scheduler"]["role"] == "standby"
        standby.call("POST", "/datasets", {"name": "site", "timestamp": "time"})
        follower = Following(standby.url)
        stack.callback(follower.stop)
        for number in range(60):
            if number == 20:
                until(lambda: len(follower.seen) == 20)
            if number == 30:
                leader.kill()
            assert append(standby, number)
            acknowledged += 1
        until(lambda: len(follower.seen) == acknowledged)
        assert standby.call("GET", "/health/").body["checks"]["events"]["oldest_unsequenced_seconds"] is None
    assert [event["sequence"] for event in follower.seen] == list(range(1, acknowledged + 1))
    embedded_server.drop(url)
