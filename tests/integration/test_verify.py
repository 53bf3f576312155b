"""What `mlsys verify` finds: tampered promotion logs, and stored files that are lost, altered or nobody's."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import front
import pytest
import sqlalchemy as sa
from front import World

from mlsys.registry.promotions import digest
from mlsys.storage.artifacts import FolderBlobs
from mlsys.timetravel.verifying import Report, broken


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """Two versions, three promotions, a data set of one file, and a prediction."""
    with front.started(tmp_path, database_url, {"quick": front.definition()}) as found:
        first = front.train(found.client)["result"]["model_version_id"]
        second = front.train(found.client, end_date="2020-03-10", promote="never")["result"]["model_version_id"]
        for version in (second, first):
            found.client.post("/model/promote", json={"model_name": "quick", "model_version_id": version})
        found.client.post("/datasets", json={"name": "plant", "timestamp": "time", "columns": {"power": "number"}})
        found.client.post("/datasets/plant/rows", json=[{"time": "2020-01-01T00:00:00Z", "power": 1.5}])
        front.predict(found.client)
        yield found


def verify(world: World) -> Report:
    return world.system.verifier()


def tamper(world: World, statement: str, table: str = "promotions", **values: Any) -> None:
    """As a superuser who knows what stands in the way."""
    with world.system.engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER append_only"))
        connection.execute(sa.text(statement), values)
        connection.execute(sa.text(f"ALTER TABLE {table} ENABLE TRIGGER append_only"))


def entry(world: World, sequence: int) -> dict[str, Any]:
    with world.system.engine.connect() as connection:
        row = connection.execute(sa.text("SELECT * FROM promotions WHERE sequence = :sequence"), {"sequence": sequence}).mappings().one()
        return dict(row)


def test_verify__finds_nothing_wrong_with_what_is_right(world: World) -> None:
    seen: list[tuple[int, int]] = []
    report = world.system.verifier(lambda done, total: seen.append((done, total)))
    assert (report.faults, report.warnings) == ([], [])
    assert report.checked == {"promotions": 3, "artifacts": 4, "data files": 1, "predictions": 1}
    assert sum(done for done, _ in seen) == seen[0][1] > 0


@pytest.mark.parametrize("change", ["actor = 'another'", "reason = 'no reason'", "created_at = created_at - interval '1 day'"])
def test_verify__finds_an_entry_that_was_altered(world: World, change: str) -> None:
    tamper(world, f"UPDATE promotions SET {change} WHERE sequence = 2")
    (fault,) = verify(world).faults
    assert (fault.part, fault.name) == ("promotions", "quick 2")
    assert "altered" in fault.detail


def test_verify__finds_an_entry_rewritten_with_its_hash(world: World) -> None:
    forged = digest(entry(world, 2) | {"actor": "another"})
    tamper(world, "UPDATE promotions SET actor = 'another', hash = :hash WHERE sequence = 2", hash=forged)
    faults = verify(world).faults
    assert [fault.name for fault in faults] == ["quick 2", "quick 3"]
    assert "event log" in faults[0].detail
    assert "follow" in faults[1].detail


def test_verify__finds_that_the_end_of_the_log_was_cut_off(world: World) -> None:
    tamper(world, "DELETE FROM promotions WHERE sequence = 3")
    (fault,) = verify(world).faults
    assert (fault.name, "not there" in fault.detail) == ("quick 3", True)


def test_verify__finds_a_gap_in_the_log(world: World) -> None:
    tamper(world, "UPDATE promotions SET below = NULL WHERE sequence = 3; DELETE FROM promotions WHERE sequence = 2")
    faults = verify(world).faults
    assert [fault.name for fault in faults] == ["quick 3", "quick 3", "quick 2"]
    assert "Entry 2 was expected" in faults[0].detail


def test_broken__chains_of_several_models_are_apart() -> None:
    def made(model: str, sequence: int, previous: str | None) -> dict[str, Any]:
        from datetime import UTC, datetime

        names = ("model_version_id", "previous_model_version_id", "below", "action", "actor", "reason")
        found = dict.fromkeys(names) | {"model_name": model, "sequence": sequence, "previous_hash": previous}
        found["created_at"] = datetime(2020, 1, 1, tzinfo=UTC)
        return found | {"hash": digest(found)}

    a, b = made("a", 1, None), made("b", 1, None)
    counted = {"promotions": 0}
    assert list(broken([a, made("a", 2, a["hash"]), b, made("b", 2, b["hash"])], {}, counted=counted)) == []
    assert counted == {"promotions": 4}
    assert [one.name for one in broken([a, made("a", 2, b["hash"])], {}, counted=counted)] == ["a 2"]


def lose(path: Path) -> None:
    path.unlink()


def alter(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


@pytest.mark.parametrize(("spoil", "word"), [(lose, "missing"), (alter, "damaged")])
@pytest.mark.parametrize("part", ["artifact", "twin", "data file", "prediction"])
def test_verify__names_the_file_that_is_lost(world: World, part: str, spoil: Callable[[Path], None], word: str) -> None:
    with world.system.services.units() as unit:
        found = unit.inventory
        named = {one.owner.split()[0]: one for one in found.artifacts()}
        named |= {"data file": found.data_files()[0], "prediction": found.predictions()[0]}
    store = world.home / "artifacts" / ("datasets" if part == "data file" else "")
    spoil(FolderBlobs(folder=store).path(named[part].sha256))
    (fault,) = verify(world).faults
    assert fault.name == named[part].sha256
    assert fault.part == {"artifact": "artifacts", "twin": "artifacts", "data file": "data files", "prediction": "predictions"}[part]
    assert word in fault.detail
    assert named[part].owner in fault.detail


def test_verify__warns_of_files_that_no_row_names(world: World) -> None:
    blobs = [FolderBlobs(folder=world.home / "artifacts" / below).put(b"left behind") for below in ("", "datasets")]
    report = verify(world)
    assert report.faults == []
    assert [(one.part, one.name) for one in report.warnings] == [("artifacts", blobs[0].sha256), ("data files", blobs[1].sha256)]
