"""What retention frees and what it never does; and what is said of a version whose bytes are gone."""

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import front
import pytest
import sqlalchemy as sa
from front import World

from mlsys import errors
from mlsys.registry import inventory
from mlsys.storage.artifacts import FolderBlobs

SOON = {"retention.keep_versions": 1, "retention.keep_version_days": 0, "retention.leftover_hours": 0}


@pytest.fixture
def server(embedded_server: Any) -> Any:
    return embedded_server


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    with front.started(tmp_path, database_url, {"quick": front.definition()}, **SOON) as found:
        yield found


def trained(world: World, day: int = 15) -> Any:
    """A version that nothing promotes, by a training that ends on its own day of March, so that no two have the same bytes."""
    run = front.train(world.client, promote="never", end_date=f"2020-03-{day:02}")
    return world.client.get(f"/models/quick/versions/{run['result']['model_version_id']}").json


def version(world: World, id: str, **query: str) -> Any:
    return world.client.get(f"/models/quick/versions/{id}", query_string=query).json


def promote(world: World, id: str) -> Any:
    return world.client.post("/model/promote", json={"model_name": "quick", "model_version_id": id})


def freed(world: World) -> list[Any]:
    with world.system.engine.connect() as connection:
        return list(connection.execute(sa.text("SELECT * FROM freed_blobs ORDER BY seq")).mappings())


def blobs_of(world: World) -> FolderBlobs:
    return FolderBlobs(folder=world.home / "artifacts")


def test_gc__frees_what_the_rules_do_not_keep_and_says_so(world: World) -> None:
    old, kept = trained(world, 10), trained(world, 11)
    told = world.system.upkeep.collector.plan()
    assert [one.model_version_id for one in told.versions] == [old["model_version_id"]]
    assert (told.files, freed(world)) == (2, []), "a plan changes nothing"
    found = world.system.upkeep.collector.collect()
    assert (found.versions, found.files, found.bytes) == (told.versions, told.files, told.bytes)
    assert found.bytes == found.versions[0].size >= old["artifact"]["size"]
    assert not blobs_of(world).path(old["artifact"]["sha256"]).exists()
    assert [(row["model_version_id"], row["part"]) for row in freed(world)] == [
        (old["model_version_id"], "artifact"),
        (old["model_version_id"], "twin"),
    ]
    assert "not among the newest 1" in version(world, old["model_version_id"])["freed"]["policy"]
    assert version(world, kept["model_version_id"])["freed"] is None
    assert version(world, old["model_version_id"], as_of=old["created_at"])["freed"] is None
    assert world.system.verifier().faults == []
    assert not world.system.upkeep.collector.collect().versions


def test_gc__a_freed_version_is_no_use_but_its_registry_entry_stays(world: World) -> None:
    run = front.train(world.client, promote="never", end_date="2020-03-10")
    id = run["result"]["model_version_id"]
    predicted = front.predict(world.client, model_version_id=id)
    trained(world)
    world.system.upkeep.collector.collect()
    assert version(world, id)["metrics"]
    for answer in (
        promote(world, id),
        world.client.post("/job/predict", json=front.PREDICT | {"model_version_id": id}),
        world.client.get(f"/models/quick/versions/{id}/explanation"),
    ):
        assert (answer.status_code, answer.json["type"]) == (409, "urn:mlsys:problem:freed")  # type: ignore[index]
        assert f"/runs/{run['id']}/retry" in answer.json["detail"]  # type: ignore[index]
    for done in (run, predicted):
        result = front.ended(world.client.post(f"/runs/{done['id']}/replay", headers=front.WAIT))["result"]
        assert result["verdict"] == "cannot_replay"
        assert "freed" in result["reason"]


def test_gc__never_frees_what_a_promotion_names(world: World) -> None:
    """The one in production, those before it, and what a demotion would go back to."""
    ids = [trained(world, day)["model_version_id"] for day in (8, 9, 10, 11)]
    for id in ids[:3]:
        assert promote(world, id).status_code == 200
    assert world.client.post("/model/demote", json={"model_name": "quick"}).status_code == 200
    trained(world, 12)
    found = world.system.upkeep.collector.collect()
    assert [one.model_version_id for one in found.versions] == ids[3:]
    assert world.client.post("/model/demote", json={"model_name": "quick"}).status_code == 200
    assert promote(world, ids[2]).status_code == 200


def test_gc__keeps_the_newest_and_the_young(database_url: str, tmp_path: Path) -> None:
    with front.started(tmp_path, database_url, {"quick": front.definition()}, **SOON | {"retention.keep_version_days": 1}) as world:
        trained(world, 10), trained(world, 11)
        assert world.system.upkeep.collector.collect().versions == []


def test_gc__keeps_the_last_version_that_was_judged(world: World) -> None:
    """The next training holds its data against it."""
    judged = trained(world, 10)
    with world.system.engine.begin() as connection:
        connection.execute(
            sa.text(
                """INSERT INTO model_versions (model_version_id, model_name, version, run_id, created_at, artifact, twin, twin_cutoff, spec,
                metrics, validation) SELECT 'unjudged', model_name, 2, run_id, created_at, artifact, twin, twin_cutoff, spec, metrics,
                '{"decision": "cannot_judge", "checks": []}' FROM model_versions"""
            )
        )
    assert judged["validation"]["decision"] in ("accepted", "rejected")
    assert world.system.upkeep.collector.collect().versions == []


def test_gc__leaves_alone_what_a_run_uses_that_has_not_ended(world: World) -> None:
    old = trained(world, 10)
    trained(world, 11)
    spec = front.predict(world.client, model_version_id=old["model_version_id"])["spec"]
    with world.system.services.units() as unit:
        waiting = unit.runs.add(kind="predict", model_name="quick", trigger={"type": "api"}, spec=spec)
        assert unit.runs.claim(owner=1, among=[waiting]) is not None
        unit.runs.requeue(waiting, expected="running", delay=3600)  # nobody takes it meanwhile
        unit.commit()
    assert world.system.upkeep.collector.collect().versions == []
    world.client.post(f"/runs/{waiting}/cancel", json={})
    assert len(world.system.upkeep.collector.collect().versions) == 1


def test_gc__bytes_that_another_version_names_stay(world: World) -> None:
    """Trained twice from the same data, two versions have the same bytes."""
    one, two = trained(world, 10), trained(world, 10)
    assert one["artifact"]["sha256"] == two["artifact"]["sha256"]
    found = world.system.upkeep.collector.collect()
    assert ([each.model_version_id for each in found.versions], found.files) == ([one["model_version_id"]], 0)
    assert front.predict(world.client, model_version_id=two["model_version_id"])["status"] == "succeeded"


@pytest.mark.parametrize("store", ["", "datasets"])
def test_sweep__removes_only_what_nobody_names_and_notes_it(world: World, store: str) -> None:
    world.client.post("/datasets", json={"name": "plant", "timestamp": "time", "columns": {"power": "number"}})
    world.client.post("/datasets/plant/rows", json=[{"time": "2020-01-01T00:00:00Z", "power": 1.5}])
    trained(world)
    blobs = FolderBlobs(folder=world.home / "artifacts" / store)
    left = blobs.put(b"left by a killed writer")
    (blobs.folder / ".incoming.abc").write_bytes(b"half")
    found = world.system.upkeep.collector.sweep()
    assert (found.files, found.bytes, found.temporary_files) == (1, left.size, 1)
    assert not list(blobs.folder.glob(".incoming*"))
    (row,) = freed(world)
    assert (row["part"], row["sha256"], row["model_version_id"]) == ("leftover", left.sha256, None)
    report = world.system.verifier()
    assert (report.faults, report.warnings) == ([], [])


def test_sweep__leaves_the_young_alone_and_what_is_stored_again(database_url: str, tmp_path: Path) -> None:
    with front.started(tmp_path, database_url, {}, **SOON | {"retention.leftover_hours": 1}) as world:
        blobs = blobs_of(world)
        old = blobs.put(b"bytes")
        path = blobs.path(old.sha256)
        assert world.system.upkeep.collector.sweep().waiting_bytes == old.size
        os.utime(path, (0, 0))
        blobs.put(b"bytes")  # a job comes to the same bytes, and will name them
        assert path.stat().st_mtime > time.time() - 600
        assert world.system.upkeep.collector.sweep().files == 0
        assert not blobs.remove_untouched(old.sha256, seconds=3600)
        assert blobs.get(old.sha256) == b"bytes"
        os.utime(path, (0, 0))
        assert world.system.upkeep.collector.sweep().files == 1


def test_gc__is_held_off_by_a_backup(world: World) -> None:
    old = trained(world, 10)
    trained(world, 11)
    with world.system.engine.connect() as backup:
        backup.execute(sa.text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": inventory.REMOVALS})
        with pytest.raises(errors.Conflict, match="backup"):
            world.system.upkeep.collector.collect()
        assert blobs_of(world).path(old["artifact"]["sha256"]).exists()
        world.system.upkeep.keeper.round()  # waits without a fuss
    assert world.system.upkeep.collector.collect().files == 2


def test_gc__old_log_lines_go_and_runs_stay(world: World) -> None:
    run = front.train(world.client)
    lines = world.client.get(f"/runs/{run['id']}/logs").json["items"]  # type: ignore[index]
    assert lines
    with world.system.engine.begin() as connection:
        connection.execute(sa.text("UPDATE run_logs SET at = at - CAST(:age AS interval)"), {"age": timedelta(days=91)})
    assert world.system.upkeep.collector.plan().run_log_lines == len(lines)
    assert world.system.upkeep.collector.tidy().run_log_lines == len(lines)
    assert world.client.get(f"/runs/{run['id']}/logs").json["items"] == []  # type: ignore[index]
    assert world.client.get(f"/runs/{run['id']}").json["result"] == run["result"]  # type: ignore[index]


def test_keeper__frees_by_itself_where_it_is_asked_to(database_url: str, tmp_path: Path) -> None:
    with front.started(tmp_path, database_url, {"quick": front.definition()}, **SOON | {"retention.gc_hours": 0.0001}) as world:
        old, newest = trained(world, 10), trained(world, 11)
        deadline = time.monotonic() + 60
        while version(world, old["model_version_id"])["freed"] is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert version(world, newest["model_version_id"])["freed"] is None
        assert world.client.get("/health/").json["checks"]["retention"]["status"] == "ok"  # type: ignore[index]
