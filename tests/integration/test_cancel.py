"""Runs that are asked to stop: queued, running, in another process, ended, or just being concluded."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import front
import pytest
from front import PREDICT, TRAIN, World
from holding import held_by_a_dead_process, history, hold, run_of, until
from registries import events

from mlsys.execution.backfill import BackfillHandler
from mlsys.registry.unit_of_work import UnitOfWork
from mlsys.testing import FrozenClock

MODELS = {"quick": front.definition()}
HOURS = {"start_date": "2020-03-02", "end_date": "2020-03-05", "step": "PT1H"}


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    with front.started(tmp_path, database_url, MODELS, **{"execution.workers": 1}) as found:
        yield found


def cancel(world: World, id: str, **headers: str) -> Any:
    return world.client.post(f"/runs/{id}/cancel", headers=headers)


def queue(world: World) -> str:
    answer = world.client.post("/job/train", json=TRAIN)
    assert answer.json is not None
    id: str = answer.json["id"]
    return id


def versions(world: World) -> list[Any]:
    answer = world.client.get("/models/quick/versions").json
    assert answer is not None
    return list(answer["items"])


def test_cancel__ends_a_queued_run_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = hold(world, monkeypatch)
    first, second = queue(world), queue(world)
    assert gate.entered.wait(20)
    answer = cancel(world, second)
    assert (answer.status_code, answer.json["status"]) == (200, "cancelled")
    assert answer.json["finished_at"] is not None
    gate.open.set()
    assert world.system.services.waiter.wait(first, seconds=30).status == "succeeded"
    until(lambda: not world.system.runner.pending)
    assert history(world, second) == [("queued", 1), ("cancelled", 1)]


def test_cancel__stops_a_running_run_at_its_next_step_and_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = hold(world, monkeypatch)
    gate.quiet.set()
    id = queue(world)
    assert gate.entered.wait(20)
    answer = cancel(world, id)
    assert (answer.status_code, answer.json["status"], answer.json["finished_at"]) == (202, "cancelling", None)
    assert answer.headers["Location"] == f"/runs/{id}"
    between = datetime.now(UTC).isoformat()
    assert cancel(world, id).json["status"] == "cancelling", "asked twice is asked once"
    gate.quiet.clear()
    run = cancel(world, id, Prefer="wait=30")
    assert run.status_code in (200, 409)
    until(lambda: run_of(world, id).finished)
    assert history(world, id) == [("queued", 1), ("running", 1), ("cancelling", 1), ("cancelled", 1)]
    assert versions(world) == []
    assert [name for name in events(world.system.engine) if name != "run.queued"] == ["run.started", "run.cancelled"]
    then = world.client.get(f"/runs/{id}", query_string={"as_of": between}).json
    assert then is not None
    assert (then["status"], then["finished_at"]) == ("cancelling", None)


@pytest.mark.parametrize("params", [{"num_iterations": 20_000, "num_leaves": 4000, "min_child_samples": 1}])
def test_cancel__stops_lightgbm_between_two_rounds(world: World, params: dict[str, Any]) -> None:
    answer = world.client.post("/job/train", json=TRAIN | {"params": params})
    assert answer.json is not None
    id = answer.json["id"]
    until(lambda: (run_of(world, id).progress or {}).get("step", "").startswith("fit"))
    stopped = cancel(world, id, Prefer="wait=30").json
    assert (stopped["status"], stopped["result"], stopped["error"]) == ("cancelled", None, None)
    assert versions(world) == []


def test_cancel__of_what_has_ended_is_refused(world: World) -> None:
    id = front.train(world.client)["id"]
    answer = cancel(world, id)
    assert answer.status_code == 409
    assert "succeeded" in answer.json["detail"]
    assert cancel(world, "none").status_code == 404
    retried = world.client.post(f"/runs/{id}/retry", headers=front.WAIT).json
    assert retried is not None
    assert retried["status"] == "succeeded"


def test_cancel__reaches_a_run_of_another_process(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database_url: str) -> None:
    gate = hold(world, monkeypatch)
    id = queue(world)
    assert gate.entered.wait(20)
    with front.started(tmp_path / "other", database_url, MODELS) as other:
        assert cancel(other, id, Prefer="wait=30").json["status"] == "cancelled"
    assert history(world, id)[-2:] == [("cancelling", 1), ("cancelled", 1)]


def test_cancel__of_a_run_whose_process_dies_is_not_tried_again(world: World) -> None:
    id = held_by_a_dead_process(world)
    assert cancel(world, id).json["status"] == "cancelling"
    world.system.recovery.sweep()
    assert history(world, id) == [("queued", 1), ("running", 1), ("cancelling", 1), ("cancelled", 1)]


def test_cancel__of_a_run_that_fails_meanwhile_ends_as_cancelled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = hold(world, monkeypatch)
    gate.quiet.set()
    gate.error = RuntimeError("too late to matter")
    id = queue(world)
    assert gate.entered.wait(20)
    cancel(world, id)
    gate.open.set()
    until(lambda: run_of(world, id).finished)
    assert run_of(world, id).status == "cancelled"


def test_cancel__while_the_process_stops_is_not_given_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = hold(world, monkeypatch)
    gate.quiet.set()
    id = queue(world)
    assert gate.entered.wait(20)
    cancel(world, id)
    threading.Timer(0.3, gate.quiet.clear).start()
    world.system.runner.stop(grace_seconds=0.1)
    assert run_of(world, id).status == "cancelled"


def test_cancel__against_the_concluding_transaction_has_one_winner(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty runs, each cancelled in the very moment of its end: a version, or cancelled without one."""
    concluding = threading.Barrier(2)
    real = UnitOfWork.commit

    def commit(unit: UnitOfWork) -> None:
        if any(event.type == "run.succeeded" for event in unit.events.written) and threading.current_thread().name.startswith("job"):
            concluding.wait(20)
        real(unit)

    monkeypatch.setattr(UnitOfWork, "commit", commit)
    outcomes = []
    for number in range(20):
        answer = world.client.post("/job/train", json=TRAIN | {"params": {"seed": number}, "promote": "never"})
        assert answer.json is not None
        id = answer.json["id"]
        if number % 2:  # asked before the last statement of the conclusion
            until(lambda run=id: run_of(world, run).status == "running")
            before = cancel(world, id).json
            assert before["status"] in ("cancelling", "cancelled")
        else:  # asked between that statement and its commit
            thread = threading.Thread(target=cancel, args=(world, id))
            until(lambda: concluding.n_waiting == 1)
            thread.start()
            thread.join(0.05)
            concluding.wait(20)
            thread.join(20)
        until(lambda run=id: run_of(world, run).finished)
        outcomes.append((run_of(world, id).status, id))
    assert {status for status, _ in outcomes[::2]} == {"succeeded"}
    assert {status for status, _ in outcomes[1::2]} == {"cancelled"}
    assert {version["run_id"] for version in versions(world)} == {id for status, id in outcomes if status == "succeeded"}


def test_cancel__stops_a_backfill_between_its_steps_and_a_second_call_continues(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    rows = front.hourly()
    rows.assign(known_at=rows["time"]).to_parquet(tmp_path / "data" / "known.parquet")
    models = {"known": front.definition(source={"type": "parquet", "path": "known.parquet"}, created_at="known_at", exogenous=[])}
    clock = FrozenClock(datetime(2020, 3, 1, tzinfo=UTC))
    settings = {"database.url": database_url, "data.roots": [str(tmp_path / "data")]}
    system = front.unstarted(tmp_path, models, clock=clock, **settings)
    system.start()
    try:
        client = front.app_of(system).test_client()
        version = front.train(client, model_name="known", end_date="2020-02-28", promote="never")["result"]["model_version_id"]
        client.post("/model/promote", json={"model_name": "known", "model_version_id": version})
        clock.advance(timedelta(days=19))
        world = World(system=system, client=client, data=tmp_path / "data", home=tmp_path / "home")
        real = BackfillHandler._forecast
        monkeypatch.setattr(BackfillHandler, "_forecast", lambda *given: time.sleep(0.03) or real(*given))
        first = client.post("/models/known/backfill", json=HOURS).json["id"]  # type: ignore[index]
        until(lambda: (run_of(world, first).progress or {}).get("done", 0) > 0)
        run = cancel(world, first, Prefer="wait=30").json
        assert (run["status"], run["result"]) == ("cancelled", None)
        monkeypatch.undo()
        again = front.ended(client.post("/models/known/backfill", json=HOURS, headers=front.WAIT))
        steps = again["result"]["steps"]
        assert (again["status"], steps["total"], steps["made"] + steps["present"]) == ("succeeded", 96, 96)
        assert 0 < steps["present"] < 96
    finally:
        system.stop()


def test_predict__is_not_disturbed_by_cancelled_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    front.train(world.client)
    gate = hold(world, monkeypatch)
    id = queue(world)
    assert gate.entered.wait(20)
    cancel(world, id)
    assert front.ended(world.client.post("/job/predict", json=PREDICT, headers=front.WAIT))["status"] == "succeeded"
