"""The event log: one gap-free sequence over what was committed, in the order of the contract, whoever writes and whoever leads."""

import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from publishing import append, running
from serving import until

from mlsys import errors
from mlsys.events import types
from mlsys.events.types import SequencedEvent
from mlsys.registry.unit_of_work import Units
from mlsys.storage.migrate import Migrator

WRITERS, TURNS = 10, 100


@dataclass(kw_only=True)
class Written:
    """What the writers know for sure: event -> (when its transaction began, when its commit had returned)."""

    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)


def write(units: Units, writer: int, written: Written) -> None:
    """Transactions that take no time and transactions that take long, one of five rolled back, some of them about one model."""
    chance = random.Random(writer)
    for turn in range(TURNS):
        names = [f"{writer}.{turn}.{part}" for part in range(chance.choice((1, 1, 3)))]
        slow, undone = chance.random() < 0.1, chance.random() < 0.2
        began = time.monotonic()
        with units() as unit:
            if chance.random() < 0.3:
                unit.lock_model("shared")
            for name in names:
                unit.events.append(types.RUN_QUEUED, {"name": name, "run_id": str(writer)})
                time.sleep(chance.random() * (0.05 if slow else 0.001))
            if undone:
                written.undone.update(names)
                continue
            unit.commit()
        written.spans |= dict.fromkeys(names, (began, time.monotonic()))


def follow(units: Units, stop: threading.Event, seen: list[SequencedEvent]) -> None:
    """A reader that advances by the last number it saw, and never looks back."""
    while True:
        ending = stop.is_set()
        with units() as unit:
            found = unit.event_log.after(seen[-1].sequence if seen else 0, limit=37)
        seen += found
        if ending and not found:
            return
        time.sleep(0.002)


def in_order(seen: list[SequencedEvent], written: Written) -> None:
    assert [event.sequence for event in seen] == list(range(1, len(seen) + 1)), "gap-free"
    names = [str(event.data["name"]) for event in seen]
    assert len(names) == len(set(names)), "each once"
    assert set(names) == set(written.spans), "what was committed, and nothing else"
    latest_beginning = 0.0
    for name in names:
        began, returned = written.spans[name]
        assert returned >= latest_beginning, f"{name} was committed before the transaction of an event with a lower number began"
        latest_beginning = max(latest_beginning, began)
    for writer in range(WRITERS):
        turns = [tuple(map(int, name.split(".")[1:])) for name in names if name.startswith(f"{writer}.")]
        assert turns == sorted(turns), "events of one run are in order"


@pytest.mark.parametrize("lost", [False, True])
def test_event_log__a_reader_misses_nothing_while_many_write_and_leaders_change(database_url: str, lost: bool) -> None:
    written, seen, stop = Written(), list[SequencedEvent](), threading.Event()
    with ExitStack() as stack:
        nodes = [stack.enter_context(running(database_url)) for _ in range(3 if lost else 2)]
        reader = threading.Thread(target=follow, args=(nodes[0].units, stop, seen))
        writers = [threading.Thread(target=write, args=(nodes[n % len(nodes)].units, n, written)) for n in range(WRITERS)]
        for thread in (reader, *writers):
            thread.start()
        epochs = {node.leader.epoch for node in nodes}
        while lost and any(thread.is_alive() for thread in writers):
            end_leading_session(nodes[0].engine)
            epochs |= {node.leader.epoch for node in nodes}
            time.sleep(0.2)
        for thread in writers:
            thread.join()
        until(lambda: not waiting(nodes[0].units))
        stop.set()
        reader.join()
    assert written.undone
    assert len(epochs - {None}) >= (3 if lost else 1), "leaders did change"
    in_order(seen, written)


def end_leading_session(engine: sa.Engine) -> None:
    """As if the leader's process had died: the database ends its session, and with it whatever it was writing."""
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1835820146"))


def waiting(units: Units) -> bool:
    with units() as unit:
        return unit.event_log.waiting()


def read(units: Units, after: int = 0, **limits: Any) -> list[str]:
    with units() as unit:
        return [event.data["name"] for event in unit.event_log.after(after, **limits)]


def test_event_log__what_a_standby_commits_is_numbered_by_the_leader_at_once(database_url: str) -> None:
    with running(database_url) as leader, running(database_url) as standby:
        assert (leader.leader.epoch is None, standby.leader.epoch is None) == (False, True)
        for turn in range(10):
            seen = standby.publisher.growth.seen
            append(standby.units, str(turn))
            standby.publisher.growth.wait(seen, 10)
            until(lambda turn=turn: read(standby.units) == list(map(str, range(turn + 1))), 5)


def test_event_log__goes_on_when_every_connection_is_cut(database_url: str, engine: sa.Engine) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with running(database_url) as node:
        append(node.units, "a")
        until(lambda: read(node.units) == ["a"])
        with engine.connect() as connection:
            assert len(list(connection.scalars(sa.text(cut)))) >= 2, "the leader's and the bell's, at least"
        until(lambda: appended(node.units, "b"))
        until(lambda: read(node.units) == ["a", "b"])

        def woken() -> bool:
            """By a NOTIFY of another process: the bell listens again."""
            seen = node.publisher.growth.seen
            with engine.begin() as connection:
                connection.execute(sa.text("NOTIFY mlsys_sequenced"))
            node.publisher.growth.wait(seen, 1)
            return node.publisher.growth.seen > seen

        until(woken)


def appended(units: Units, name: str) -> bool:
    try:
        append(units, name)
    except errors.DatabaseUnavailable:
        return False
    return True


def test_event_log__a_late_leader_gives_no_number(engine: sa.Engine, units: Units) -> None:
    append(units, "a")
    with units() as unit, pytest.raises(errors.Fenced):
        unit.guard(7)
    assert read(units) == []


def test_event_log__numbers_are_never_changed_and_are_lost_only_by_force(engine: sa.Engine, units: Units, database_url: str) -> None:
    with running(database_url):
        append(units, "a", "b")
        until(lambda: read(units) == ["a", "b"])
    for change in ("UPDATE event_sequence SET sequence = sequence + 1", "DELETE FROM event_sequence", "TRUNCATE event_sequence"):
        with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="append-only"):
            connection.execute(sa.text(change))
    with pytest.raises(errors.Conflict, match="event_sequence"):
        Migrator(engine=engine).downgrade("010")


def test_event_log__events_older_than_it_are_numbered_when_it_is_made(engine: sa.Engine, units: Units, database_url: str) -> None:
    append(units, "a", "b")
    migrator = Migrator(engine=engine)
    migrator.downgrade("010")
    migrator.upgrade()
    assert read(units) == ["a", "b"]
    with running(database_url):
        append(units, "c")
        until(lambda: read(units) == ["a", "b", "c"])


def test_event_log__reads_by_type_and_model(engine: sa.Engine, units: Units, database_url: str) -> None:
    with running(database_url):
        append(units, "a", type=types.MODEL_CREATED)
        append(units, "b", type=types.RUN_QUEUED)
        with units() as unit:
            unit.events.append(types.MODEL_REJECTED, {"name": "c", "model_name": "m"})
            unit.commit()
        until(lambda: read(units) == ["a", "b", "c"])
    assert read(units, patterns=["model.*"]) == ["a", "c"]
    assert read(units, patterns=["model.created", "run.*"]) == ["a", "b"]
    assert read(units, patterns=["*"], after=1, limit=1) == ["b"]
    assert read(units, model_name="m") == ["c"]
    assert read(units, patterns=["run.queue"]) == []
