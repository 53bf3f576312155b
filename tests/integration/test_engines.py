"""Jobs in processes of their own: the same results, progress and log lines; their death ends a run, and nothing else."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import front
import plugins
import pytest
from capping import capped, kills
from front import TRAIN, World
from holding import history, run_of, until

from mlsys.execution.engines import Processes

NAIVE = {"type": "seasonal_naive"}
MODELS = {"quick": front.definition(), "set": front.definition(source={"type": "dataset", "name": "plant"})}
LONG = {"num_iterations": 20_000, "num_leaves": 1000, "min_child_samples": 1}
SETTINGS = {"execution.engine": "processes", "execution.retry_seconds": 0.1, "execution.workers": 1, "execution.max_attempts": 2}


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """With models whose source breaks the process."""
    url, folder = embedded_server.clone(), tmp_path_factory.mktemp("engines")
    broken = {
        how: front.definition(source={"type": "breaking", "how": how, "mark": str(folder / "mark")}, model=NAIVE)
        for how in ("null", "lightgbm", "memory")
    }
    with (
        plugins.installed(folder / "site", "mlsys.components", source_breaking="breaking:Breaking"),
        front.started(folder / "world", url, MODELS | broken, **SETTINGS) as found,
    ):
        yield found
    embedded_server.drop(url)


def pid(world: World) -> int:
    bodies = world.system.bodies
    assert isinstance(bodies, Processes)
    found = bodies._workers[0]._pid
    assert found is not None
    return found.result(60)


def fitting(world: World, **changes: Any) -> str:
    id: str = world.client.post("/job/train", json=TRAIN | {"params": LONG} | changes).json["id"]  # type: ignore[index]
    until(lambda: (run_of(world, id).progress or {}).get("step", "").startswith("fit"), 60)
    return id


def test_processes__work_as_threads_do(world: World, tmp_path: Path, embedded_server: Any) -> None:
    url = embedded_server.clone()
    first = pid(world)
    trained = front.train(world.client)
    forecast = front.predict(world.client)
    assert (trained["status"], forecast["status"]) == ("succeeded", "succeeded"), (trained, forecast)
    assert trained["progress"] == {"step": "store", "done": 1, "total": 1}
    assert [file["name"] for file in trained["result"]["files"]] == ["hourly.parquet"]
    lines = world.client.get(f"/runs/{trained['id']}/logs").json["items"]  # type: ignore[index]
    assert any("Read" in line["message"] for line in lines)
    for id in (trained["id"], forecast["id"]):
        replayed = front.ended(world.client.post(f"/runs/{id}/replay", headers=front.WAIT))
        assert replayed["result"]["verdict"] == "identical", replayed["result"]
    assert pid(world) == first != os.getpid(), "kept warm"
    with front.started(tmp_path, url, MODELS) as threads:
        same = front.train(threads.client)["result"]
    embedded_server.drop(url)
    assert same["metrics"] == trained["result"]["metrics"]
    assert same["read"]["sha256"] == trained["result"]["read"]["sha256"]


def test_processes__read_data_sets_through_their_parent(world: World) -> None:
    world.client.post("/datasets", json={"name": "plant", "timestamp": "time"})
    csv = front.hourly().to_csv(index=False).encode()
    assert world.client.post("/datasets/plant/rows", data=csv, content_type="text/csv").status_code == 201
    run = front.train(world.client, model_name="set")
    assert run["status"] == "succeeded", run
    assert run["result"]["data"]["rows"] == 75 * 24


def test_processes__bad_data_is_told_as_ever(world: World) -> None:
    run = front.train(world.client, start_date="2030-01-01", end_date="2030-02-01")
    assert (run["status"], run["error"]["kind"], run["attempt"]) == ("failed", "empty_window", 1)
    first = pid(world)
    (world.data / "broken.parquet").write_bytes(b"PAR1 no parquet")
    run = front.train(world.client, file_path="broken.parquet")
    assert (run["status"], "broken.parquet" in run["error"]["message"]) == ("failed", True)
    assert pid(world) == first


def test_processes__a_crash_in_native_code_ends_the_attempt_and_not_the_server(world: World) -> None:
    id = fitting(world)
    os.kill(pid(world), signal.SIGSEGV)
    until(lambda: run_of(world, id).attempt == 2, 60)
    assert history(world, id)[:4] == [("queued", 1), ("running", 1), ("crashed", 1), ("queued", 2)]
    until(lambda: (run_of(world, id).progress or {}).get("step", "").startswith("fit"), 60)
    assert world.client.get("/health/").status_code == 200
    world.client.post(f"/runs/{id}/cancel")
    until(lambda: run_of(world, id).status == "cancelled")
    assert front.train(world.client, promote="never")["status"] == "succeeded"


@pytest.mark.parametrize("how", ["null", "lightgbm"])
def test_processes__a_fault_in_native_code_of_a_component_or_of_lightgbm_crashes_the_run(world: World, how: str) -> None:
    first = pid(world)
    run = front.train(world.client, model_name=how)
    assert (run["status"], run["attempt"], run["error"]["kind"]) == ("crashed", 2, "crashed"), run
    assert "native code" in run["error"]["message"]
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    states = [("queued", 1), ("running", 1), ("crashed", 1), ("queued", 2), ("running", 2), ("crashed", 2)]
    assert history(world, run["id"]) == states
    assert front.train(world.client, promote="never")["status"] == "succeeded"


def test_processes__one_that_the_kernel_kills_for_memory_crashes_and_is_tried_again(world: World) -> None:
    mark = world.home.parent.parent / "mark"
    mark.touch()
    with capped(pid(world), mib=200) as counter:
        id = world.client.post("/job/train", json=TRAIN | {"model_name": "memory"}).json["id"]  # type: ignore[index]
        until(lambda: run_of(world, id).finished, 60)
        assert counter is None or kills(counter) == 1
    assert history(world, id)[2:4] == [("crashed", 1), ("queued", 2)]
    assert (run_of(world, id).status, run_of(world, id).attempt) == ("succeeded", 2)
    assert world.client.get("/health/").status_code == 200


def test_processes__are_killed_where_a_run_is_cancelled_in_the_middle_of_a_native_call(world: World) -> None:
    id = fitting(world)
    first = pid(world)
    os.kill(first, signal.SIGSTOP)  # as silent as a native call that never comes back
    world.client.post(f"/runs/{id}/cancel")
    until(lambda: run_of(world, id).status == "cancelled", 10)
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert front.train(world.client, promote="never")["status"] == "succeeded"


def test_processes__that_take_too_long_or_too_much_are_ended(tmp_path: Path, embedded_server: Any) -> None:
    url = embedded_server.clone()
    given = SETTINGS | {"execution.timeouts": {"quick": 1.0}, "execution.memory_mib": 300}
    with front.started(tmp_path, url, MODELS | {"other": front.definition()}, **given) as world:
        slow = front.train(world.client, params=LONG)
        assert (slow["status"], slow["error"]["kind"]) == ("failed", "timeout")
        assert front.train(world.client, model_name="other")["status"] == "succeeded"
        greedy = front.train(world.client, model_name="other", params={"num_leaves": 4096, "max_bin": 1023, "num_iterations": 50})
        assert (greedy["status"], greedy["error"]["kind"]) == ("failed", "out_of_memory"), greedy
        assert "execution.memory_mib" in greedy["error"]["message"]
        assert front.train(world.client, model_name="other", promote="never")["status"] == "succeeded"
    embedded_server.drop(url)


def test_processes__die_with_the_system(tmp_path: Path, embedded_server: Any) -> None:
    url = embedded_server.clone()
    with front.started(tmp_path, url, MODELS, **SETTINGS) as world:
        found = pid(world)
    with pytest.raises(ProcessLookupError):
        os.kill(found, 0)
    embedded_server.drop(url)
