"""POST /runs/{id}/replay, through the front: what was done is done again, and the difference found and explained."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import front
import pandas as pd
import pytest
import sqlalchemy as sa
from front import WAIT, World

from mlsys.pipelines import environment
from mlsys.storage.artifacts import FolderBlobs
from mlsys.timetravel.compaction import Compactor

MODELS = {
    "quick": front.definition(),
    "naive": front.definition(model={"type": "seasonal_naive"}),
    "dated": front.definition(created_at="known"),
}


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    with front.started(tmp_path, database_url, MODELS) as found:
        yield found


def replay(world: World, run: Any) -> Any:
    """The result of a replay."""
    done = front.ended(world.client.post(f"/runs/{run['id']}/replay", headers=WAIT))
    assert (done["kind"], done["trigger"], done["status"]) == ("replay", {"type": "replay"}, "succeeded"), done["error"]
    assert done["result"]["original_run_id"] == run["id"]
    return done["result"]


def rewrite(world: World, change: Any) -> None:
    """Alters the source file on disk."""
    path = world.data / "hourly.parquet"
    change(pd.read_parquet(path)).to_parquet(path)


def events(world: World) -> list[str]:
    with world.system.engine.connect() as connection:
        return list(connection.scalars(sa.text("SELECT type FROM events WHERE type NOT LIKE 'run.%' ORDER BY id")))


def counts(world: World) -> list[int]:
    with world.system.engine.connect() as connection:
        return [connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) or 0 for name in ("model_versions", "promotions", "predictions")]


@pytest.mark.parametrize("model", ["quick", "naive"])
def test_replay__of_untouched_data_is_identical_and_leaves_no_trace(world: World, model: str) -> None:
    runs = [front.train(world.client, model_name=model)]
    version = runs[0]["result"]["model_version_id"]
    world.client.post("/model/promote", json={"model_name": model, "model_version_id": version})  # what is naive is no better than naive
    runs.append(front.predict(world.client, model_name=model))
    runs.append(front.train(world.client, model_name=model, end_date="2020-03-10"))  # compared with a champion
    assert runs[2]["result"]["champion"]["model_version_id"] == version
    before = events(world), counts(world)
    for run in runs:
        found = replay(world, run)
        assert (found["verdict"], found["why"]) == ("identical", [])
        assert found["data"] == run["result"]["data"]
    assert (events(world), counts(world)) == before


def test_replay__is_listed_by_its_kind_and_trigger(world: World) -> None:
    run = front.train(world.client)
    replay(world, run)
    for query in ({"kind": "replay"}, {"trigger": "replay"}):
        listed = world.client.get("/runs", query_string=query).json
        assert listed is not None
        assert [one["spec"]["original_run_id"] for one in listed["items"]] == [run["id"]]


def test_replay__names_the_source_file_that_was_altered(world: World) -> None:
    trained, predicted = front.train(world.client), front.predict(world.client)
    rewrite(world, lambda f: f.assign(power=f["power"].where(f["time"] != "2020-03-01T05:00:00Z", 99.0), wind=f["wind"] + 1))
    for run in (trained, predicted):
        found = replay(world, run)
        assert found["verdict"] == "different"
        (why,) = found["why"]
        assert (why["cause"], why["files"]) == ("data_changed", ["hourly.parquet"])
        assert why["recorded"]["sha256"] == run["result"]["read"]["sha256"] != why["present"]["sha256"]
    assert found["first_difference"]["column"] == "prediction"
    assert found["first_difference"]["key"]["timestamp"] == "2020-03-16T00:00:00Z"


def test_replay__a_change_before_the_window_is_found(world: World) -> None:
    front.train(world.client)
    run = front.predict(world.client)
    rewrite(world, lambda f: f.assign(power=f["power"].where(f["time"] != "2020-03-15T05:00:00Z", 99.0)))
    found = replay(world, run)
    assert found["why"][0]["cause"] == "data_changed"
    assert found["data"] == run["result"]["data"]


def test_replay__a_source_file_that_is_gone_or_broken(world: World) -> None:
    run = front.train(world.client)
    path = world.data / "hourly.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    broken = replay(world, run)
    assert broken["verdict"] == "cannot_replay"
    assert "'hourly.parquet' is damaged" in broken["reason"]
    path.unlink()
    assert "No such file" in replay(world, run)["reason"]


@pytest.mark.parametrize("kind", ["artifact", "twin", "prediction"])
@pytest.mark.parametrize("fault", ["damaged", "missing"])
def test_replay__stored_bytes_that_are_lost_are_named(world: World, kind: str, fault: str) -> None:
    trained, predicted = front.train(world.client), front.predict(world.client)
    with world.system.services.units() as unit:
        version = unit.versions.get(trained["result"]["model_version_id"])
        (kept,) = unit.inventory.predictions(predicted["id"])
    sha256 = {"artifact": version.artifact.sha256, "twin": version.twin.sha256, "prediction": kept.sha256}[kind]
    path = FolderBlobs(folder=world.home / "artifacts").path(sha256)
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    found = replay(world, predicted if kind == "prediction" else trained)
    assert found["verdict"] == "cannot_replay"
    assert sha256[:12] in found["reason"]
    assert fault in found["reason"]
    assert f"the {kind} of" in found["reason"]


def test_replay__tells_of_a_library_that_was_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    true = environment.describe
    monkeypatch.setattr(environment, "describe", lambda **given: true(**given) | {"lightgbm": "0.0.1"})
    runs = [front.train(world.client), front.predict(world.client)]
    monkeypatch.undo()
    for run in runs:
        assert run["result"]["environment"]["lightgbm"] == "0.0.1"
        found = replay(world, run)
        assert found["verdict"] == "identical"
        (why,) = found["why"]
        assert (why["cause"], why["name"], why["recorded"]) == ("library_changed", "lightgbm", "0.0.1")


def test_replay__of_a_source_that_says_when_rows_became_known_keeps_to_what_was(world: World) -> None:
    rewrite(world, lambda f: f.assign(known=f["time"]))
    run = front.train(world.client, model_name="dated")
    late = pd.Timestamp.now("UTC") + timedelta(hours=1)
    rewrite(world, lambda f: pd.concat([f, f.iloc[[9]].assign(power=99.0, known=late)], ignore_index=True))
    assert replay(world, run)["verdict"] == "identical"
    rewrite(world, lambda f: f.assign(power=f["power"] + 1))
    found = replay(world, run)
    assert (found["verdict"], found["why"][0]["files"]) == ("different", ["hourly.parquet"])


def dataset(world: World) -> None:
    world.client.post("/datasets", json={"name": "plant", "timestamp": "time", "columns": {"power": "number", "wind": "number"}})
    append(world, front.hourly())


def append(world: World, frame: pd.DataFrame) -> None:
    body = frame.to_json(orient="records", date_format="iso", lines=True)
    answer = world.client.post("/datasets/plant/rows", data=body, content_type="application/x-ndjson")
    assert answer.status_code == 201, answer.text


def test_replay__of_a_data_set_reads_what_was_known_then(world: World) -> None:
    dataset(world)
    runs = [front.train(world.client, dataset="plant"), front.predict(world.client, dataset="plant")]
    append(world, front.hourly().iloc[100:1900].assign(power=1.0))
    for run in runs:
        assert run["result"]["known_at"]
        found = replay(world, run)
        assert (found["verdict"], found["why"]) == ("identical", [])


@pytest.mark.parametrize("fault", ["damaged", "missing"])
def test_replay__names_the_file_of_a_data_set_that_is_lost(world: World, fault: str) -> None:
    dataset(world)
    run = front.train(world.client, dataset="plant")
    (path,) = (world.home / "artifacts" / "datasets").glob("??/*")
    data = path.read_bytes()
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:1000] + bytes([data[1000] ^ 1]) + data[1001:])
    found = replay(world, run)
    assert found["verdict"] == "cannot_replay"
    assert fault in found["reason"]
    assert (path.parent.name + path.name)[:12] in found["reason"]
    assert "of the data set plant" in found["reason"]


@pytest.mark.parametrize("compacted", [False, True])
def test_replay__reads_no_history_that_was_imported_later(world: World, compacted: bool) -> None:
    """Its created_at says that it was known by then, but the run cannot have seen it."""
    dataset(world)
    runs = [front.train(world.client, dataset="plant"), front.predict(world.client, dataset="plant")]
    append(world, front.hourly().iloc[100:1900].assign(power=50.0, created_at=runs[0]["result"]["known_at"]))
    before = front.hourly()["time"].iloc[0] - timedelta(hours=1)
    append(world, pd.DataFrame({"time": [before], "power": 3.0, "wind": 1.0, "created_at": "2020-06-01T00:00:00Z"}))
    if compacted:
        service = world.system.data.service
        parts = {"units": service._units, "blobs": service._blobs, "engine": service._engine, "reader": service._reader}
        assert Compactor(**parts, fewest=2).compact("plant") > 1
    for run in runs:
        found = replay(world, run)
        assert (found["verdict"], found["why"]) == ("identical", [])
    again = front.train(world.client, dataset="plant")
    assert again["result"]["data"] != runs[0]["result"]["data"]
    assert replay(world, again)["verdict"] == "identical"


def test_explanation__reads_no_history_that_was_imported_after_the_training(world: World) -> None:
    """Of two versions that read the same, one is explained before the import and one after it."""
    dataset(world)
    runs = [front.train(world.client, dataset="plant") for _ in range(2)]

    def permutation(run: Any) -> Any:
        answer = world.client.get(f"/models/quick/versions/{run['result']['model_version_id']}/explanation").json
        return answer["permutation"], [(one["source"], one["permutation"]) for one in answer["importances"]]  # type: ignore[index]

    before = permutation(runs[0])
    append(world, front.hourly().iloc[100:1900].assign(power=50.0, created_at=runs[0]["result"]["known_at"]))
    assert permutation(runs[1]) == before
    assert permutation(front.train(world.client, dataset="plant")) != before


def test_replay__uses_the_threads_that_were_recorded_whatever_runs_now(database_url: str, tmp_path: Path) -> None:
    with front.started(tmp_path, database_url, MODELS, **{"execution.cores": 2}) as world:
        run = front.train(world.client)
    one = {"database.url": database_url, "data.roots": [str(tmp_path / "data")], "execution.cores": 1}
    system = front.unstarted(tmp_path, MODELS, **one)
    system.start()
    try:
        found = front.ended(front.app_of(system).test_client().post(f"/runs/{run['id']}/replay", headers=WAIT))["result"]
    finally:
        system.stop()
    assert run["result"]["environment"]["threads"] == found["environment"]["threads"] == 2
    assert (found["verdict"], found["why"]) == ("identical", [])


def test_replay__does_not_take_what_it_cannot_do(world: World) -> None:
    failed = front.train(world.client, end_date="2020-01-02")
    front.errors_of(world.client.post(f"/runs/{failed['id']}/replay"), 409)
    done = front.ended(world.client.post(f"/runs/{front.train(world.client)['id']}/replay", headers=WAIT))
    front.errors_of(world.client.post(f"/runs/{done['id']}/replay"), 409)
    front.errors_of(world.client.post("/runs/nothing/replay"), 404)
    assert front.errors_of(world.client.post(f"/runs/{failed['id']}/replay", json={"dry": True})).keys() == {"dry"}
