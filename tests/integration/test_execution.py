"""Runs whose process dies, stops or loses its database: given back, retried within the budget, never lost and never done twice."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import front
import pytest
import sqlalchemy as sa
from front import PREDICT, TRAIN
from holding import held_by_a_dead_process, history, hold, run_of, until

from mlsys.execution.presence import LOCK_CLASS
from mlsys.records import Run
from mlsys.storage import tables

MODELS = {"quick": front.definition()}


def test_recovery__a_run_of_a_dead_process_is_crashed_and_tried_again(tmp_path: Path, database_url: str) -> None:
    with front.started(tmp_path, database_url, MODELS) as first:
        id = held_by_a_dead_process(first)
    with front.started(tmp_path / "again", database_url, MODELS) as world:
        (tmp_path / "data").rename(tmp_path / "elsewhere")
        run = world.system.services.waiter.wait(id, seconds=30)
        assert (run.status, run.attempt) == ("succeeded", 2)
        assert history(world, id) == [("queued", 1), ("running", 1), ("crashed", 1), ("queued", 2), ("running", 2), ("succeeded", 2)]


def test_recovery__gives_up_when_the_budget_is_spent(tmp_path: Path, database_url: str) -> None:
    with front.started(tmp_path, database_url, MODELS, **{"execution.max_attempts": 2}) as world:
        id = held_by_a_dead_process(world, attempts=2)
        world.system.recovery.sweep()
        run = run_of(world, id)
        assert (run.status, run.attempt) == ("crashed", 2)
        assert run.error is not None
        assert run.error["kind"] == "crashed"
        world.system.recovery.sweep()
        assert history(world, id)[-1] == ("crashed", 2)


def test_recovery__leaves_runs_of_living_processes_alone(tmp_path: Path, database_url: str) -> None:
    with front.started(tmp_path, database_url, MODELS) as world:
        id = held_by_a_dead_process(world)
        with world.system.engine.connect() as alive:
            alive.execute(sa.text("SELECT pg_advisory_lock(:class, 1)"), {"class": LOCK_CLASS})
            alive.execute(sa.insert(tables.processes).values(owner=1, beaten_at=sa.func.now()))
            alive.commit()
            world.system.recovery.sweep()
            assert run_of(world, id).status == "running"
            alive.execute(sa.text("SELECT pg_advisory_unlock(:class, 1)"), {"class": LOCK_CLASS})
        world.system.recovery.sweep()
        assert history(world, id)[-2:] == [("crashed", 1), ("queued", 2)]


def test_recovery__finds_a_run_of_its_own_process_that_no_thread_works_on(tmp_path: Path, database_url: str) -> None:
    with front.started(tmp_path, database_url, MODELS) as world:
        id = held_by_a_dead_process(world)
        with world.system.engine.begin() as connection:
            connection.execute(sa.update(tables.run_state).values(owner=world.system.presence.owner))
        world.system.recovery.sweep()  # a claim that is just being made looks the same
        assert run_of(world, id).status == "running"
        world.system.recovery.sweep()
        assert history(world, id)[-2:] == [("crashed", 1), ("queued", 2)]


def test_recovery__leaves_alone_what_this_process_works_on(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with front.started(tmp_path, database_url, MODELS) as world:
        gate = hold(world, monkeypatch)
        answer = world.client.post("/job/train", json=TRAIN)
        assert answer.json is not None
        assert gate.entered.wait(20)
        for _ in range(3):
            world.system.recovery.sweep()
        gate.open.set()
        assert world.system.services.waiter.wait(answer.json["id"], seconds=30).status == "succeeded"
        assert history(world, answer.json["id"]) == [("queued", 1), ("running", 1), ("succeeded", 1)]


def test_stop__gives_a_running_job_back_to_the_queue_and_the_next_start_finishes_it(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with front.started(tmp_path, database_url, MODELS) as first:
        gate = hold(first, monkeypatch)
        answers = [first.client.post("/job/train", json=TRAIN) for _ in range(4)]
        assert gate.entered.wait(20)
        first.system.runner.stop(grace_seconds=0.1)
        late = first.client.post("/job/train", json=TRAIN)
        assert late.status_code == 202, "what comes while stopping waits in the queue"
        assert first.client.get("/health/").status_code == 503
        ids = [answer.json["id"] for answer in (*answers, late) if answer.json]
        assert {run_of(first, id).status for id in ids} == {"queued"}
    with front.started(tmp_path / "again", database_url, MODELS) as world:
        ended = [world.system.services.waiter.wait(id, seconds=30) for id in ids]
        assert [run.status for run in ended] == ["succeeded"] * 5
        assert [change for id in ids for change in history(world, id) if change[0] == "crashed"] == []


def test_job__taken_away_meanwhile_writes_nothing(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with front.started(tmp_path, database_url, MODELS, **{"execution.workers": 1}) as world:
        gate = hold(world, monkeypatch)
        answer = world.client.post("/job/train", json=TRAIN)
        assert answer.json is not None
        assert gate.entered.wait(20)
        with world.system.services.units() as unit:
            unit.runs.crash(answer.json["id"], attempt=1, reason="another process believed it dead")
            unit.commit()
        gate.open.set()
        until(lambda: not world.system.runner.pending)
        assert history(world, answer.json["id"])[-1] == ("crashed", 1)
        listed = world.client.get("/models/quick/versions").json
        assert listed == {"items": [], "next_cursor": None}


def test_job__an_unexpected_error_tells_nothing_of_our_insides(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(run: Run, reporter: Any) -> Any:
        raise ZeroDivisionError("/secret/path")

    with front.started(tmp_path, database_url, MODELS) as world:
        monkeypatch.setitem(world.system.runner._handlers, "train", broken)  # type: ignore[arg-type]
        run = front.train(world.client)
        assert run["status"] == "failed"
        assert run["error"]["kind"] == "internal"
        assert "ZeroDivisionError" in run["error"]["message"]
        logs = world.client.get(f"/runs/{run['id']}/logs")
        assert "/secret/path" not in logs.text + str(run)


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt()])
def test_job__a_component_that_would_end_the_process_ends_its_run(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    def leaving(run: Run, reporter: Any) -> Any:
        raise raised

    with front.started(tmp_path, database_url, MODELS) as world:
        monkeypatch.setitem(world.system.runner._handlers, "train", leaving)  # type: ignore[arg-type]
        run = front.train(world.client)
        assert (run["status"], run["error"]["kind"]) == ("failed", "internal")
        monkeypatch.undo()
        run = front.train(world.client)
        assert run["status"] == "succeeded"
        assert run["progress"]["done"] == run["progress"]["total"]


def test_job__lives_through_the_loss_of_every_database_connection(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with front.started(tmp_path, database_url, MODELS) as world:
        gate = hold(world, monkeypatch)
        answer = world.client.post("/job/train", json=TRAIN)
        assert answer.json is not None
        assert gate.entered.wait(20)
        other = sa.create_engine(sa.make_url(database_url), poolclass=sa.NullPool)
        with other.connect() as connection:
            pids = sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            assert len(list(connection.scalars(pids))) >= 1
        world.system.recovery.sweep()
        gate.open.set()
        run = world.system.services.waiter.wait(answer.json["id"], seconds=30)
        assert run.status == "succeeded"
        assert world.client.get("/health/").status_code == 200


def test_prefer__waiting_never_takes_all_threads(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with front.started(tmp_path, database_url, MODELS, **{"server.threads": 2}) as world:
        gate = hold(world, monkeypatch)
        first = threading.Thread(
            target=world.client.application.test_client().post, args=("/job/train",), kwargs={"json": TRAIN, "headers": front.WAIT}
        )
        first.start()
        assert gate.entered.wait(20)
        started = time.monotonic()
        answer = world.client.post("/job/train", json=TRAIN, headers=front.WAIT)
        assert answer.status_code == 202
        assert time.monotonic() - started < 5
        gate.open.set()
        first.join(30)


def test_artifact__damaged_fails_its_predictions_and_nothing_else(tmp_path: Path, database_url: str) -> None:
    with front.started(tmp_path, database_url, MODELS) as world:
        champion = front.train(world.client)["result"]["model_version_id"]
        other = front.train(world.client, promote="never", end_date="2020-03-01", params={"seed": 5})["result"]["model_version_id"]
        version = world.client.get(f"/models/quick/versions/{other}").json
        assert version is not None
        stored = Path(version["artifact"]["uri"].removeprefix("file://"))
        data = bytearray(stored.read_bytes())
        data[len(data) // 2] ^= 1
        stored.write_bytes(data)
        run = front.predict(world.client, model_version_id=other)
        assert (run["status"], run["error"]["kind"]) == ("failed", "damaged_artifact")
        assert str(stored) not in str(run["error"])
        answer = world.client.post("/model/promote", json={"model_name": "quick", "model_version_id": other})
        assert answer.status_code == 409
        assert answer.json is not None
        assert answer.json["type"] == "urn:mlsys:problem:damaged_artifact"
        assert front.predict(world.client)["result"]["model_version_id"] == champion
        stored.unlink()
        assert front.predict(world.client, model_version_id=other)["error"]["kind"] == "damaged_artifact"
        assert front.predict(world.client)["status"] == "succeeded"


def test_disk__full_fails_the_run_with_the_reason_once_it_was_tried_again(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with front.started(tmp_path, database_url, MODELS, **{"execution.max_attempts": 2, "execution.retry_seconds": 0.1}) as world:
        front.train(world.client)
        monkeypatch.setattr(os, "fsync", full)
        run = front.train(world.client, params={"seed": 99})
        assert (run["status"], run["error"]["kind"]) == ("failed", "unavailable")
        assert "No space left on device" in run["error"]["message"]
        assert history(world, run["id"])[2:] == [("queued", 2), ("running", 2), ("failed", 2)]
        prediction = world.client.post("/job/predict", json=PREDICT, headers=front.WAIT).json
        assert prediction is not None
        assert prediction["status"] == "failed"
        monkeypatch.undo()
        assert front.train(world.client, params={"seed": 99})["status"] == "succeeded"
        assert front.predict(world.client)["status"] == "succeeded"
