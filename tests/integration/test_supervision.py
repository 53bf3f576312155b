"""Every thread that works by itself is killed once by a SystemExit raised inside it: health tells of it, it is started anew, and works."""

import ctypes
import threading
from collections.abc import Callable, Iterator
from typing import Any

import front
import hooking
import plugins
import pytest
from front import World
from receivers import Receiver, receiving
from serving import until

NAMES = ("leader", "scheduler", "heart", "recovery", "sequencer", "bell", "relay sink:line")
NAMES += ("webhooks", "webhook 0", "listeners", "housekeeping", "accuracy", "mlsys-postgres")
THREADS = {"scheduler": "APScheduler"}
SETTINGS = {"execution.lease_seconds": 5, "webhooks.threads": 1, "events.sinks": {"line": {"type": "postgres_notify"}}}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[World]:
    """With a database server, a sink, a webhook and a listener of its own."""
    folder = tmp_path_factory.mktemp("supervision")
    with (
        plugins.installed(folder / "site", "mlsys.listeners", plant="builtins:id"),
        front.started(folder / "world", "", {"quick": front.definition()}, **hooking.ALLOWED, **SETTINGS) as found,
    ):
        hooking.subscribe(found.client, receiver.url)
        assert found.client.post("/datasets", json={"name": "site", "timestamp": "time"}).status_code == 201
        yield found


def threads(world: World) -> Any:
    return world.client.get("/health/").json["checks"]["threads"]  # type: ignore[index]


def restarts(world: World, name: str) -> int:
    """Without the database nobody is known who may be told."""
    return int(threads(world).get("restarts", {}).get(name, 0))


def append(world: World) -> bool:
    """An event, which gives nearly every thread something to do."""
    row = {"time": "2020-01-01T00:00:00Z", "value": 1}
    return world.client.post("/datasets/site/rows", json=[row]).status_code == 201


def kill(world: World, name: str) -> None:
    """As an exception would that nobody has caught. One that waits dies as soon as it wakes."""
    victim = [one for one in threading.enumerate() if one.name == THREADS.get(name, name)][-1]
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(victim.ident or 0), ctypes.py_object(SystemExit)) == 1
    until(lambda: [append(world)] and not victim.is_alive())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # APScheduler's thread is not ours to wrap
@pytest.mark.parametrize("name", NAMES)
def test_thread__that_dies_is_told_of_started_anew_and_works(world: World, receiver: Receiver, name: str) -> None:
    before = restarts(world, name)
    kill(world, name)
    until(lambda: restarts(world, name) == before + 1)
    assert threads(world)["status"] in ("degraded", "down")
    until(lambda: append(world))
    last = until(lambda: numbered(world))
    until(lambda: last in receiver.sequences())
    until(lambda: world.client.get("/health/").json["checks"]["events"]["sinks"]["sink:line"]["behind"] == 0)  # type: ignore[index]
    assert threads(world)["dead"] == []


def numbered(world: World) -> int | None:
    """The newest event, once all have a number."""
    events = world.client.get("/health/").json["checks"]["events"]  # type: ignore[index]
    return None if events["oldest_unsequenced_seconds"] is not None else events["sequence"]


def test_thread__that_cannot_be_started_is_red_until_it_can(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    start: Callable[[threading.Thread], None] = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name == "sequencer":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        kill(world, "sequencer")
        answer = until(lambda: (found := world.client.get("/health/")).status_code == 503 and found)
        assert answer.json["checks"]["threads"]["dead"] == ["sequencer"]
        assert answer.json["checks"]["events"]["status"] == "down"
    until(lambda: threads(world)["dead"] == [])
    assert front.train(world.client)["status"] == "succeeded"
