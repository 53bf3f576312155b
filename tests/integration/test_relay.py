"""A relay hands every event to its sink, in order, at least once: through failures, restarts and a change of the leader."""

import threading
from collections.abc import Sequence

import pytest
from publishing import append, running
from serving import until

from mlsys.events.sinks import EventSink
from mlsys.events.types import SequencedEvent
from mlsys.publishing import relay
from mlsys.registry.unit_of_work import Units


class Kept(EventSink):
    """Keeps what it gets; ``failing``: takes everything and then says that it could not."""

    def __init__(self) -> None:
        self.got: list[SequencedEvent] = []
        self.failing = False

    def send(self, events: Sequence[SequencedEvent]) -> None:
        self.got += events
        if self.failing:
            raise ConnectionError("the password of the broker is wrong: hunter2")

    @property
    def names(self) -> list[str]:
        return [event.data["name"] for event in self.got]


def test_relay__hands_on_in_order_and_only_where_the_leader_is(database_url: str) -> None:
    sink, other = Kept(), Kept()
    with running(database_url, {"kept": sink}) as node, running(database_url, {"kept": other}) as standby:
        for number in range(50):
            append((node if number % 2 else standby).units, str(number))
        until(lambda: len(sink.got) == 50)
        assert [event.sequence for event in sink.got] == list(range(1, 51))
        assert sorted(sink.names, key=int) == list(map(str, range(50)))
        node.leader.stop()  # the sessions of both are alive: the other takes over
        append(standby.units, "last")
        until(lambda: other.names == ["last"])
    assert "last" not in sink.names


def test_relay__sends_again_what_failed_and_tells_of_it_without_the_text(database_url: str) -> None:
    sink, healthy = Kept(), Kept()
    sink.failing = True
    with running(database_url, {"failing": sink, "healthy": healthy}) as node:
        append(node.units, "a", "b")
        until(lambda: len(sink.got) >= 4)
        until(lambda: healthy.names == ["a", "b"])
        health = node.publisher.health()["sinks"]
        assert (health["failing"]["behind"], health["failing"]["error"]) == (2, "ConnectionError")
        assert health["failing"]["oldest_undelivered_seconds"] >= 0
        assert (health["healthy"]["behind"], health["healthy"]["oldest_undelivered_seconds"]) == (0, None)
        assert "hunter2" not in str(health)
        sink.failing = False
        until(lambda: node.publisher.health()["sinks"]["failing"]["behind"] == 0)
    assert set(sink.names) == {"a", "b"}


def test_relay__whose_sink_hangs_is_told_of(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_SILENT", 1.5)
    sink, go = Kept(), threading.Event()
    real = sink.send
    monkeypatch.setattr(sink, "send", lambda events: go.wait(60) and real(events))
    with running(database_url, {"hanging": sink}) as node:
        assert node.publisher.health()["status"] == "ok"
        append(node.units, "a")
        until(lambda: node.publisher.health()["sinks"]["hanging"]["status"] == "degraded")
        assert node.publisher.health()["sinks"]["hanging"]["behind"] == 1
        go.set()
        until(lambda: node.publisher.health()["status"] == "ok" and sink.names == ["a"])


def test_relay__goes_on_after_a_restart_where_it_was(database_url: str, units: Units) -> None:
    append(units, "before the sink was known")
    with running(database_url) as node:
        until(lambda: node.publisher.health()["sequence"] == 1)
    first, second = Kept(), Kept()
    with running(database_url, {"kept": first}) as node:
        append(node.units, "a")
        until(lambda: node.publisher.health()["sinks"]["kept"]["sequence"] == 2)
    append(units, "while nothing ran")
    with running(database_url, {"kept": second}):
        until(lambda: second.got)
    assert (first.names, second.names) == (["a"], ["while nothing ran"])
