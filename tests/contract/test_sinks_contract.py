"""The contract of all that brings events out, webhooks and each sink that comes with mlsys: every event, at least once, over failures and
restarts too; from a sink in order.

A sink that is installed but has no sample here fails the suite. Each is built as config.yaml would have it, and read as its users would.
"""

import threading
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from publishing import append, running
from serving import until
from sinking import BASE, SAMPLES, Listening, Sample, build, chat_server, mail_server, told

from mlsys import errors
from mlsys.events import types
from mlsys.publishing import building
from mlsys.storage.database import make_engine


@pytest.fixture
def url(embedded_server: Any) -> Iterator[str]:
    found = embedded_server.clone()
    yield found
    embedded_server.drop(found)


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    found = make_engine(url, pool_size=3, statement_timeout_seconds=30)
    yield found
    found.dispose()


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.needs_parts] if name == "redis" else []) for name in SAMPLES])
def sample(request: pytest.FixtureRequest, tmp_path: Path, url: str) -> Iterator[Sample]:
    with SAMPLES[request.param](tmp_path, url) as found:
        yield found


# -- the contract


def test_samples__there_is_one_for_each_sink_that_comes_with_mlsys() -> None:
    found = {entry.name for entry in metadata.entry_points(group=building.GROUP) if entry.value.startswith("mlsys.")}
    assert found | {"webhooks"} == set(SAMPLES)


def test_sink__gets_every_event_in_order(sample: Sample, url: str) -> None:
    with sample.running(url) as line:
        writers = [threading.Thread(target=lambda n=n: [append(line.units, f"{n}.{i}") for i in range(20)]) for n in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        until(lambda: len(set(sample.read())) == 80)
        until(lambda: line.behind() == 0)
    assert (sample.read() if sample.ordered else sorted(sample.read())) == list(range(1, 81))


def test_sink__gets_what_happened_while_nothing_ran_and_goes_on_after_a_restart(sample: Sample, url: str) -> None:
    for life in range(3):
        with sample.running(url) as line:
            append(line.units, f"{life}.a", f"{life}.b")
            until(lambda life=life: len(set(sample.read())) == 3 * life + 2)
            line.stop()
            append(line.units, f"{life}.c")
    with sample.running(url):
        until(lambda: len(set(sample.read())) == 9)
    assert sample.arrived() == list(range(1, 10)), "in order; what comes again comes later"


def test_sink__sends_the_same_again_when_it_is_not_noted_that_it_was_sent(sample: Sample, url: str, engine: sa.Engine) -> None:
    """As after a kill -9 between sending and noting."""
    with sample.running(url) as line:
        append(line.units, "a", "b", "c")
        until(lambda: len(set(sample.read())) == 3 and line.behind() == 0)
    with engine.begin() as connection:
        connection.execute(sa.text(sample.forget))
    with sample.running(url) as line:
        append(line.units, "d")
        until(lambda: len(set(sample.read())) == 4 and line.behind() == 0)
    assert sample.arrived() == [1, 2, 3, 4]


def test_sink__gets_everything_once_the_other_side_is_back(sample: Sample, url: str) -> None:
    with sample.running(url) as line:
        append(line.units, "a")
        until(lambda: len(sample.read()) == 1)
        sample.down()
        append(line.units, "b", "c")
        time.sleep(0.3)
        append(line.units, "d")
        sample.up()
        until(lambda: set(sample.read()) == {1, 2, 3, 4})
        until(lambda: line.behind() == 0)
    assert sample.arrived() == [1, 2, 3, 4]


def test_relay__is_well_again_after_a_failure(tmp_path: Path, url: str, engine: sa.Engine) -> None:
    with SAMPLES["slack"](tmp_path, url) as sample, running(url, {"plant": build(sample.spec, engine)}) as node:
        sample.down()
        append(node.units, "a")
        until(lambda: node.publisher.health()["sinks"]["plant"]["failures"] > 0)
        sample.up()
        until(lambda: node.publisher.health()["sinks"]["plant"] == healthy(1))


def healthy(sequence: int) -> dict[str, Any]:
    about: dict[str, Any] = {"status": "ok", "sequence": sequence, "behind": 0, "oldest_undelivered_seconds": None}
    return about | {"failures": 0, "error": None}


# -- what is peculiar to one of them


@pytest.mark.needs_parts
def test_redis__a_stream_of_another_log_is_left_alone_and_told_of(tmp_path: Path, url: str, engine: sa.Engine) -> None:
    with SAMPLES["redis"](tmp_path, url) as sample, running(url, {"plant": build({**sample.spec, "max_length": 1}, engine)}) as node:
        append(node.units, "a")
        until(lambda: sample.read() == [1])
        import redis

        with redis.Redis.from_url(sample.spec["url"]) as client:
            client.xadd("plant", {"sequence": "1000", "data": '{"name": "foreign"}'}, id="1000-0")
        append(node.units, "b")
        until(lambda: node.publisher.health()["sinks"]["plant"]["error"] == "Conflict")
        assert sample.read() == [1, 1000]


def test_postgres_notify__what_is_too_large_comes_without_its_data(url: str, engine: sa.Engine) -> None:
    listening = Listening(url, "plant")
    with running(url, {"plant": build({"type": "postgres_notify", "channel": "plant"}, engine)}) as node:
        append(node.units, "é" * 1000, "x" * 9000)
        until(lambda: listening.read() == [1, 2])
    small, large = listening.payloads
    assert small["data"] == {"name": "é" * 1000}
    assert sorted(large) == ["sequence", "timestamp", "type"]
    listening.close()


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"type": "kafka"}, "type"),
        ({}, "type"),
        ({"type": "redis"}, "url"),
        ({"type": "redis", "url": "http://x"}, "url"),
        ({"type": "redis", "url": "redis://x", "max_length": 0}, "max_length"),
        ({"type": "postgres_notify", "channel": "Plant; DROP"}, "channel"),
        ({"type": "postgres_notify", "engine": "x"}, "engine"),
        ({"type": "slack", "url": "https://chat.example.org/x", "events": ["model.rejectd"]}, "events"),
        ({"type": "email", "host": "x", "sender": "a@b", "recipients": []}, "recipients"),
        ({"type": "email", "host": "x", "sender": "a@b", "recipients": "c@d"}, "recipients"),
        ({"type": "email", "host": "x", "sender": "a@b", "recipients": ["c@d"], "username": "u", "security": "none"}, "security"),
    ],
)
def test_build__what_cannot_work_is_named(engine: sa.Engine, spec: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        build(spec, engine)
    assert list(caught.value.fields) == [f"events.sinks.plant.{field}"]


def test_notification__tells_only_of_what_it_is_asked_for(url: str, engine: sa.Engine) -> None:
    with chat_server() as chat:
        spec = {"type": "slack", "url": chat.url, "events": ["run.*"], "model_name": "m"}
        with running(url, {"plant": build(spec, engine)}) as node:
            with node.units() as unit:
                for type, model in ((types.RUN_QUEUED, "m"), (types.RUN_QUEUED, "other"), (types.PREDICTION_CREATED, "m")):
                    unit.events.append(type, {"name": "x", "model_name": model})
                unit.commit()
            until(lambda: node.publisher.health()["sinks"]["plant"]["sequence"] == 3)
        assert told(chat.texts) == [1]


def test_notification__after_an_outage_is_one_message(url: str, engine: sa.Engine) -> None:
    with mail_server() as box:
        spec = {"type": "email", "host": "127.0.0.1", "port": box.port, "security": "none", "events": ["*"]}
        spec |= {"sender": "mlsys@example.org", "recipients": ["a@example.org", "b@example.org"]}
        with running(url, {"plant": build(spec, engine)}) as node:
            node.publisher.stop()
            append(node.units, *(str(n) for n in range(30)))
        with running(url, {"plant": build(spec, engine)}) as node:
            until(lambda: node.publisher.health()["sinks"]["plant"]["sequence"] == 30)
        (letter,) = box.letters
    assert letter["Subject"] == "mlsys: 30 events (30 run.queued)"
    assert (letter["To"], letter["Auto-Submitted"]) == ("a@example.org, b@example.org", "auto-generated")
    assert told([letter.get_content()]) == list(range(1, 31))
    assert f"10 more: GET {BASE}/events?after_sequence=20" in letter.get_content()
