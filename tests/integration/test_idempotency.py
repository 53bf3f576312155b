"""Idempotency-Key: asked twice, done once, answered alike; whatever is lost in between."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import front
import pytest
import sqlalchemy as sa
from front import TRAIN, World
from holding import hold, until
from registries import events

from mlsys import errors
from mlsys.registry.unit_of_work import UnitOfWork

MODELS = {"quick": front.definition(model={"type": "seasonal_naive"})}
ROWS = [{"time": "2020-01-01T00:00:00Z", "power": 1.5}]


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = embedded_server.clone()
    with front.started(tmp_path_factory.mktemp("idempotency"), url, MODELS, **{"server.threads": 8}) as found:
        yield found
    embedded_server.drop(url)


def post(world: World, path: str, key: str, body: Any = None, **headers: str) -> Any:
    client = world.client.application.test_client()
    return client.post(path, json=body, headers={"Idempotency-Key": key, **headers})


def runs(world: World) -> int:
    with world.system.engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM runs")).scalar_one())


def forget_answers(world: World) -> None:
    """As if each process had died between the effect and its answer."""
    with world.system.engine.begin() as connection:
        connection.execute(sa.text("UPDATE idempotency_keys SET answer = NULL"))


def test_key__gives_the_same_run_and_the_same_answer(world: World) -> None:
    before = runs(world)
    first, again = (post(world, "/job/train", "same", TRAIN) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert (again.json, again.headers["Location"]) == (first.json, first.headers["Location"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert runs(world) == before + 1
    other = post(world, "/job/train", "another", TRAIN)
    assert other.json["id"] != first.json["id"]


def test_key__with_another_body_or_query_is_refused(world: World) -> None:
    post(world, "/job/train", "body", TRAIN)
    refused = front.errors_of(post(world, "/job/train", "body", TRAIN | {"promote": "never"}))
    assert list(refused) == ["Idempotency-Key"]
    assert post(world, "/job/predict", "body", front.PREDICT).status_code in (202, 409), "a key belongs to one address"


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "x" * 256])
def test_key__that_is_none_is_refused(world: World, key: str) -> None:
    assert list(front.errors_of(post(world, "/job/train", key, TRAIN))) == ["Idempotency-Key"]


def test_key__of_a_refused_request_is_free_again(world: World) -> None:
    assert post(world, "/job/train", "refused", TRAIN | {"model_name": "none"}).status_code == 422
    assert post(world, "/job/train", "refused", TRAIN).status_code == 202


def test_key__with_wait_gives_the_ended_run_again(world: World) -> None:
    first, again = (post(world, "/job/train", "wait", TRAIN, **front.WAIT) for _ in range(2))
    assert (first.status_code, first.json["status"]) == (200, "succeeded")
    assert (again.status_code, again.json) == (200, first.json)


def test_key__still_in_progress_is_a_conflict(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = hold(world, monkeypatch)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(post, world, "/job/train", "progress", TRAIN, **front.WAIT)
        assert gate.entered.wait(20)
        assert post(world, "/job/train", "progress", TRAIN).status_code == 409
        gate.open.set()
        assert first.result(30).json["status"] == "succeeded"
    assert post(world, "/job/train", "progress", TRAIN, **front.WAIT).json == first.result().json


def test_key__in_parallel_makes_one_run(world: World) -> None:
    before = runs(world)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: post(world, "/job/train", "parallel", TRAIN), range(32)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json["id"] for answer in answers if answer.status_code == 202}) == 1
    assert runs(world) == before + 1


def test_key__in_parallel_over_two_processes_makes_one_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its own memory of what is in progress: the database decides."""
    before = runs(world)
    real, meet = UnitOfWork.commit, threading.Barrier(2, timeout=5)

    def commit(unit: UnitOfWork) -> None:
        if threading.current_thread().name.startswith("two"):
            meet.wait()
        real(unit)

    monkeypatch.setattr(UnitOfWork, "commit", commit)
    monkeypatch.setattr(world.system.services.keys, "_going", Forgetful())
    with ThreadPoolExecutor(2, thread_name_prefix="two") as pool:
        answers = list(pool.map(lambda _: post(world, "/job/train", "processes", TRAIN), range(2)))
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json["id"] == answers[1].json["id"]
    assert runs(world) == before + 1
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 1


class Forgetful(set[Any]):
    def __contains__(self, item: object) -> bool:
        return False


def test_key__whose_answer_was_lost_tells_of_the_same_effect(world: World) -> None:
    run = post(world, "/job/train", "lost", TRAIN, **front.WAIT).json
    version = run["result"]["model_version_id"]
    other = front.train(world.client, promote="never")["result"]["model_version_id"]
    chosen = {"model_name": "quick", "model_version_id": other}
    promoted = post(world, "/model/promote", "lost", chosen)
    assert promoted.status_code == 200
    made = post(world, "/datasets", "lost", {"name": "lost", "timestamp": "time"})
    assert made.status_code == 201
    world.client.post("/model/promote", json={"model_name": "quick", "model_version_id": version})
    told = events(world.system.engine)
    forget_answers(world)
    assert post(world, "/job/train", "lost", TRAIN).json["id"] == run["id"]
    assert post(world, "/model/promote", "lost", chosen).json == promoted.json
    refused = post(world, "/datasets", "lost", {"name": "lost", "timestamp": "time"})
    assert (refused.status_code, "carried out" in refused.json["detail"]) == (409, True)
    assert events(world.system.engine) == told


def test_key__of_a_commit_whose_answer_is_lost_makes_one_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = runs(world)
    real = UnitOfWork.commit

    def cut(unit: UnitOfWork) -> None:
        real(unit)
        raise errors.DatabaseUnavailable("the answer never came")

    monkeypatch.setattr(UnitOfWork, "commit", cut)
    assert post(world, "/job/train", "cut", TRAIN).status_code == 503
    monkeypatch.undo()
    again = post(world, "/job/train", "cut", TRAIN, **front.WAIT)
    assert again.json["status"] == "succeeded"
    assert runs(world) == before + 1


def test_key__of_a_request_without_effect_stays_without(world: World) -> None:
    """Promoting what is in production does nothing; the same key later must not undo what happened since."""
    one, two = (front.train(world.client, promote="never")["result"]["model_version_id"] for _ in range(2))
    world.client.post("/model/promote", json={"model_name": "quick", "model_version_id": one})
    asked = {"model_name": "quick", "model_version_id": one}
    assert post(world, "/model/promote", "idle", asked).status_code == 200
    world.client.post("/model/promote", json={"model_name": "quick", "model_version_id": two})
    assert post(world, "/model/promote", "idle", asked).status_code == 200
    produced = world.client.get("/models/quick/production").json
    assert produced is not None
    assert produced["model_version_id"] == two


def test_key__holds_for_every_command(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    id = front.train(world.client)["id"]
    post(world, "/datasets", "each", {"name": "each", "timestamp": "time"})
    gate = hold(world, monkeypatch)
    running = post(world, "/job/train", "each", TRAIN).json["id"]
    assert gate.entered.wait(20)
    calls = [
        ("/datasets/each/rows", ROWS),
        (f"/runs/{running}/cancel", None),
        (f"/runs/{id}/retry", None),
        (f"/runs/{id}/replay", None),
        ("/model/demote", {"model_name": "quick"}),
    ]
    first = [post(world, path, "each", body) for path, body in calls]
    assert [answer.status_code for answer in first] == [201, 202, 202, 202, 200]
    told = len(events(world.system.engine))
    again = [post(world, path, "each", body) for path, body in calls]
    assert [answer.json for answer in again] == [answer.json for answer in first]
    assert {"data.appended", "model.demoted"} & set(events(world.system.engine)[told:]) == set()
    gate.open.set()


def test_key__of_rows_is_told_by_all_their_bytes(world: World) -> None:
    world.client.post("/datasets", json={"name": "bytes", "timestamp": "time"})
    body = b"time,power\n" + b"".join(b"2020-01-01T%02d:%02d:00Z,1.0\n" % divmod(i, 60) for i in range(1400))
    headers = {"Idempotency-Key": "bytes", "Content-Type": "text/csv"}
    first, again = (world.client.post("/datasets/bytes/rows", data=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.json) == (201, first.json)
    assert world.client.post("/datasets/bytes/rows", data=body + b"\n", headers=headers).status_code == 422
    state = world.client.get("/datasets/bytes").json
    assert state is not None
    assert state["rows"] == 1400


def test_key__is_forgotten_in_time(embedded_server: Any, tmp_path: Any) -> None:
    url = embedded_server.clone()
    with front.started(tmp_path, url, MODELS, **{"server.idempotency_hours": 0.001}) as world:
        first = post(world, "/job/train", "old", TRAIN).json["id"]
        post(world, "/job/train", "older", TRAIN)
        time.sleep(3.7)
        assert post(world, "/job/train", "old", TRAIN).json["id"] != first
        with world.system.engine.connect() as connection:
            keys = connection.scalars(sa.text("SELECT key FROM idempotency_keys")).all()
        assert keys == ["old"]
        until(lambda: not world.system.runner.pending)
    embedded_server.drop(url)
