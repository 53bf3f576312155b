"""The queue of runs: what goes first, what may not run together, what is tried again and when, what takes too long or is too much."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import front
import pytest
import sqlalchemy as sa
from front import TRAIN, World
from holding import history, hold, run_of, until

from mlsys import errors
from mlsys.records import Run
from mlsys.storage import tables

MODELS = {"quick": front.definition(), "other": front.definition(model={"type": "seasonal_naive"})}


@contextmanager
def world_with(folder: Path, url: str, **settings: Any) -> Iterator[World]:
    with front.started(folder, url, MODELS, **settings) as found:
        yield found


def queue(world: World, **changes: Any) -> str:
    answer = world.client.post("/job/train", json=TRAIN | changes)
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])  # type: ignore[index]


def began(world: World, *ids: str) -> list[str]:
    """These runs, by the time they began."""
    return sorted(ids, key=lambda run: str(run_of(world, run).started_at))


def ended(world: World, *ids: str) -> None:
    until(lambda: all(run_of(world, id).finished for id in ids), 40)


def test_priority__decides_who_is_next(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with world_with(tmp_path, database_url, **{"execution.workers": 1}) as world:
        front.train(world.client)
        gate = hold(world, monkeypatch)
        first = queue(world)
        assert gate.entered.wait(20)
        low, usual, high = (queue(world, **given) for given in ({"priority": 1}, {}, {"priority": 99}))
        predicted = world.client.post("/job/predict", json=front.PREDICT).json
        assert predicted is not None
        assert (predicted["priority"], run_of(world, usual).priority) == (70, 50)
        gate.open.set()
        ids = (low, usual, high, predicted["id"])
        ended(world, first, *ids)
        assert began(world, *ids) == [high, predicted["id"], usual, low]
    assert front.errors_of(world.client.post("/job/train", json=TRAIN | {"priority": 101})).keys() == {"priority"}


def test_trainings__of_one_model_run_one_at_a_time_and_others_beside_them(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world_with(tmp_path, database_url, **{"execution.workers": 3}) as world:
        gate = hold(world, monkeypatch)
        first, second, other = queue(world), queue(world), queue(world, model_name="other")
        until(lambda: run_of(world, other).status == "running")
        assert [run_of(world, id).status for id in (first, second)] == ["running", "queued"]
        gate.open.set()
        ended(world, first, second, other)
        assert str(run_of(world, second).started_at) >= str(run_of(world, first).finished_at)


def test_trainings__run_together_where_that_is_allowed(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with world_with(tmp_path, database_url, **{"execution.concurrent_trainings": True}) as world:
        gate = hold(world, monkeypatch)
        ids = [queue(world), queue(world)]
        until(lambda: {run_of(world, id).status for id in ids} == {"running"})
        gate.open.set()
        ended(world, *ids)


def test_claims__of_two_processes_never_run_two_trainings_of_a_model(tmp_path: Path, database_url: str) -> None:
    with world_with(tmp_path, database_url) as one, world_with(tmp_path / "two", database_url) as two:
        ids = [queue(world) for _ in range(6) for world in (one, two)]
        ended(one, *ids)
        spans = sorted((str(run.started_at), str(run.finished_at)) for run in (run_of(one, id) for id in ids))
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
        assert {run_of(one, id).status for id in ids} == {"succeeded"}


def test_queue__that_is_full_answers_503_and_takes_more_later(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with world_with(tmp_path, database_url, **{"execution.max_queued": 2, "execution.workers": 1}) as world:
        gate = hold(world, monkeypatch)
        ids = [queue(world)]
        assert gate.entered.wait(20)
        ids += [queue(world), queue(world)]
        refused = world.client.post("/job/train", json=TRAIN)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
        assert "execution.max_queued" in refused.text
        gate.open.set()
        ended(world, *ids)
        ended(world, queue(world))
        assert len(world.client.get("/runs").json["items"]) == 4  # type: ignore[index]


@pytest.mark.parametrize("most", [5, 12])
def test_queue__takes_no_more_than_its_bound_however_many_submit_at_one_instant(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    settings = {"execution.max_queued": most, "execution.workers": 1}
    with world_with(tmp_path, database_url, **settings) as one, world_with(tmp_path / "two", database_url, **settings) as two:
        gates = [hold(world, monkeypatch) for world in (one, two)]
        going = [queue(one), queue(two, model_name="other")]
        until(lambda: [run_of(one, id).status for id in going] == ["running"] * 2)
        together = threading.Barrier(2 * most)

        def submit(number: int) -> int:
            client = (one, two)[number % 2].client.application.test_client()
            together.wait(20)
            return client.post("/job/train", json=TRAIN).status_code

        with ThreadPoolExecutor(2 * most) as threads:
            answers = Counter(threads.map(submit, range(2 * most)))
        assert answers == {202: most, 503: most}
        assert one.system.runner.health()["queued"] == most
        for gate in gates:
            gate.open.set()
        until(lambda: not one.system.runner.health()["queued"], 40)


def test_queue__what_another_process_cannot_begin_begins_here_at_once(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world_with(tmp_path, database_url) as one, world_with(tmp_path / "two", database_url) as two:
        monkeypatch.setattr(one.system.runner, "_begin", lambda: None)  # as if its threads were at work
        for world in (one, two):
            world.system.recovery._sweeps.stop()  # which would find it in the end
        id = queue(one)
        ended(two, id)


def failing(world: World, monkeypatch: pytest.MonkeyPatch, *raised: BaseException) -> list[float]:
    """Trainings raise these one after the other, then work. Returns when each began."""
    real, left, times = world.system.runner._handlers["train"], list(raised), []

    def train(run: Run, reporter: Any) -> Any:
        times.append(time.monotonic())
        if left:
            raise left.pop(0)
        return real(run, reporter)

    monkeypatch.setitem(world.system.runner._handlers, "train", train)  # type: ignore[arg-type]
    return times


def test_retry__of_what_may_pass_waits_longer_each_time(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with world_with(tmp_path, database_url, **{"execution.retry_seconds": 0.4}) as world:
        source = errors.Unavailable("The source does not answer.")
        times = failing(world, monkeypatch, source, errors.DatabaseUnavailable("The database cannot be reached."))
        id = queue(world)
        until(lambda: run_of(world, id).attempt == 2)
        waiting = run_of(world, id)
        if waiting.status == "queued":
            assert waiting.error == {"kind": "unavailable", "message": "The source does not answer."}
        ended(world, id)
        states = ["queued", "running", "queued", "running", "queued", "running", "succeeded"]
        assert history(world, id) == list(zip(states, (1, 1, 2, 2, 3, 3, 3), strict=True))
        first, second = (after - before for before, after in itertools.pairwise(times))
        assert first >= 0.3
        assert second >= 0.6
        lines = world.client.get(f"/runs/{id}/logs").json["items"]  # type: ignore[index]
        assert {line["attempt"] for line in lines if line["level"] == "error"} == {1, 2}


def test_retry__ends_with_the_budget(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with world_with(tmp_path, database_url, **{"execution.retry_seconds": 0.05, "execution.max_attempts": 2}) as world:
        failing(world, monkeypatch, *[errors.Unavailable("gone")] * 5)
        id = queue(world)
        ended(world, id)
        assert history(world, id)[-1] == ("failed", 2)
        assert run_of(world, id).error == {"kind": "unavailable", "message": "gone"}


@pytest.mark.parametrize("error", [errors.BadData("bad"), errors.DamagedArtifact("damaged"), ValueError("a fault")])
def test_retry__is_never_for_bad_data_or_faults(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, error: Any) -> None:
    with world_with(tmp_path, database_url, **{"execution.retry_seconds": 0.01}) as world:
        times = failing(world, monkeypatch, error)
        id = queue(world)
        ended(world, id)
        assert (run_of(world, id).status, run_of(world, id).attempt, len(times)) == ("failed", 1, 1)


@pytest.mark.parametrize("name", ["train", "quick"])
def test_timeout__ends_the_run_and_leaves_nothing(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with world_with(tmp_path, database_url, **{"execution.timeouts": {name: 0.5, "other": 900}, "execution.workers": 1}) as world:
        gate = hold(world, monkeypatch)
        gate.quiet.set()
        id = queue(world)
        ended(world, id)
        assert run_of(world, id).error == {"kind": "timeout", "message": "The run took longer than 0.5 s (execution.timeouts)."}
        until(lambda: executor(world)["overtime"] == 1)
        assert (executor(world)["status"], executor(world)["running"]) == ("degraded", 0), "its thread holds the only place"
        gate.open.set()
        until(lambda: not world.system.runner.pending)
        assert (executor(world)["status"], executor(world)["overtime"]) == ("ok", 0)
        assert history(world, id)[-1] == ("failed", 1)
        assert world.client.get("/models/quick/versions").json["items"] == []  # type: ignore[index]
        assert world.client.get("/health/").status_code == 200


def test_kind__that_this_version_does_not_know_fails_and_harms_nothing(tmp_path: Path, database_url: str) -> None:
    with world_with(tmp_path, database_url) as world:
        with world.system.services.units() as unit:
            id = unit.runs.add(kind="renamed", model_name="quick", trigger={"type": "api"}, spec={})
            unit.commit()
        world.system.recovery.sweep()
        ended(world, id)
        error = run_of(world, id).error
        assert error is not None
        assert error["kind"] == "config_error"
        assert "renamed" in error["message"]
        assert front.train(world.client)["status"] == "succeeded"


def test_lease__of_a_process_that_stands_still_runs_out_and_its_late_writes_are_refused(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its lock, as a stopped process does, but says nothing any more; then it goes on as if nothing had been."""
    settings = {"execution.lease_seconds": 1}
    with world_with(tmp_path, database_url, **settings) as frozen, world_with(tmp_path / "two", database_url, **settings) as living:
        gate = hold(frozen, monkeypatch)
        gate.quiet.set()
        id = queue(frozen)
        assert gate.entered.wait(20)
        beat = frozen.system.presence.beat
        monkeypatch.setattr(frozen.system.presence, "beat", lambda: None)
        with frozen.system.engine.begin() as connection:
            table = tables.processes
            late = sa.update(table).values(beaten_at=sa.func.now() - sa.text("interval '2 seconds'"))
            connection.execute(late.where(table.c.owner == frozen.system.presence.owner))
        assert frozen.system.presence.owner not in living.system.presence.alive()
        living.system.recovery.sweep()
        until(lambda: run_of(living, id).status == "succeeded")
        monkeypatch.setattr(frozen.system.presence, "beat", beat)
        gate.open.set()
        until(lambda: not frozen.system.runner.pending)
        assert [status for status, _ in history(living, id)] == ["queued", "running", "crashed", "queued", "running", "succeeded"]
        assert len(living.client.get("/models/quick/versions").json["items"]) == 1  # type: ignore[index]
        assert front.train(frozen.client)["status"] == "succeeded"


def executor(world: World) -> Any:
    return world.client.get("/health/").json["checks"]["executor"]  # type: ignore[index]


def test_health__tells_of_the_queue(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with world_with(tmp_path, database_url, **{"execution.workers": 1}) as world:
        gate = hold(world, monkeypatch)
        ids = [queue(world), queue(world)]
        assert gate.entered.wait(20)
        time.sleep(1.1)
        told = executor(world)
        assert (told["workers"], told["running"], told["queued"]) == (1, 1, 1)
        assert told["oldest_queued_seconds"] >= 1
        assert told["oldest_running_seconds"] >= 1
        gate.open.set()
        ended(world, *ids)


def test_worker__whose_look_at_the_queue_ends_in_an_exit_keeps_its_place(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world_with(tmp_path, database_url, **{"execution.workers": 1}) as world:
        until(lambda: not world.system.runner._busy)
        looked: list[bool] = []

        def exit_once() -> None:
            looked.append(True)
            if len(looked) == 1:
                raise SystemExit

        monkeypatch.setattr(world.system.presence, "assert_held", exit_once)
        id = queue(world)
        until(lambda: looked)
        ended(world, id)
        assert run_of(world, id).status == "succeeded"
