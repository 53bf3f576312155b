"""A backup of a system that serves, and its restore: on both kinds of server, rows, blobs, triggers and numbers are as they were."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import front
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from front import World
from serving import HEAD

from mlsys import bootstrap, config, errors
from mlsys.application import make_app
from mlsys.backup import archive
from mlsys.storage import tables
from mlsys.storage.database import make_engine
from mlsys.system import System

OLD = Path(__file__).parents[1] / "data" / "home-009.tar.zst"
LOGS = sorted(set(tables.metadata.tables) - {"leadership", "processes"})


@pytest.fixture
def other(server: Any) -> Iterator[str]:
    """An empty database."""
    url = server.empty()
    yield url
    server.drop(url)


def target(folder: Path, url: str) -> System:
    file = front.configure(folder, {"quick": front.definition(), "idle": front.definition()})
    given = {"home": str(folder / "restored"), "database.url": url, "data.roots": [str(folder / "data")], "execution.grace_seconds": 1}
    return bootstrap.build(config.load(file, environ={}, overrides=given))


def restore(system: System, file: Path, **how: Any) -> Any:
    system.start_database(restoring=True)
    try:
        return system.upkeep.restore(file, system.upkeep.restore.check(file), **how)
    finally:
        system.stop()


def rows(url: str) -> dict[str, list[Any]]:
    engine = make_engine(url, pool_size=1, statement_timeout_seconds=30)
    try:
        with engine.connect() as connection:
            return {name: sorted(map(repr, connection.execute(sa.text(f"SELECT * FROM {name}")))) for name in LOGS}
    finally:
        engine.dispose()


def predictions(client: FlaskClient) -> Any:
    found = client.get("/models/quick/predictions?start_date=2020-03-16&end_date=2020-03-17").json["items"]  # type: ignore[index]
    assert found
    return found


def append(world: World, hour: int) -> None:
    row = {"time": f"2020-01-{hour // 24 + 1:02}T{hour % 24:02}:00:00Z", "power": float(hour)}
    assert world.client.post("/datasets/plant/rows", json=[row]).status_code == 201


def test_backup__while_serving_comes_back_whole(database_url: str, other: str, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar.zst"
    with front.started(tmp_path, database_url, {"quick": front.definition()}) as world:
        front.train(world.client)
        front.predict(world.client)
        world.client.post("/datasets", json={"name": "plant", "timestamp": "time", "columns": {"power": "number"}})
        append(world, 0)
        stop, done = threading.Event(), [0]

        def busy() -> None:
            """Rows, files and their replacement by compaction, for as long as the backup takes."""
            while not stop.is_set():
                append(world, done[0] + 1)
                world.system.data.housekeeping.round()
                done[0] += 1

        worker = threading.Thread(target=busy)
        worker.start()
        try:
            made = world.system.upkeep.backup(file)
        finally:
            stop.set()
            worker.join()
        told = predictions(world.client)
    assert made.size == file.stat().st_size
    assert file.stat().st_mode & 0o777 == 0o600
    assert archive.checked(file).revision == HEAD
    restored = target(tmp_path, other)
    assert restore(restored, file).rows == made.rows
    restored = target(tmp_path, other)
    restored.start()
    try:
        assert restored.verifier().faults == []
        client = front.app_of(restored).test_client()
        assert predictions(client) == told
        assert client.get("/datasets/plant").json["rows"] >= 1  # type: ignore[index]
        front.train(client, end_date="2020-03-10")  # the numbers of identity columns go on
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), restored.engine.begin() as connection:
            connection.execute(sa.text("UPDATE promotions SET actor = 'x'"))
    finally:
        restored.stop()


def test_restore__ends_sessions_and_keeps_tokens(database_url: str, other: str, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar.zst"
    with front.started(tmp_path, database_url, {"quick": front.definition()}) as world:
        world.client.post("/datasets", json={"name": "plant", "timestamp": "time", "columns": {"power": "number"}})
        token = world.system.services.tokens.create("me", "admin", by="me")[1]
        browser = make_app(world.system.services).test_client()
        assert browser.post("/login", data={"token": token}).status_code == 303
        cookie = browser.get_cookie("mlsys_session")
        assert cookie is not None
        assert browser.get("/runs").status_code == 200
        world.system.upkeep.backup(file)
    restore(target(tmp_path, other), file)
    restored = target(tmp_path, other)
    restored.start()
    try:
        client = make_app(restored.services).test_client()
        client.set_cookie("mlsys_session", cookie.value)
        assert client.get("/runs").status_code == 401
        assert client.get("/runs", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    finally:
        restored.stop()


def test_restore__every_row_is_as_it_was(database_url: str, other: str, tmp_path: Path) -> None:
    """Of an old home too: what restores it first, and what restores that one's backup, agree."""
    first, file = target(tmp_path, database_url), tmp_path / "again.tar.zst"
    restore(first, OLD, replace=True)
    before = rows(database_url)
    first.start_database()
    try:
        first.upkeep.backup(file)
    finally:
        first.stop()
    (tmp_path / "second").mkdir()
    restore(target(tmp_path / "second", other), file)
    assert rows(other) == before
    assert all(before[name] for name in ("events", "promotions", "dataset_freed", "accuracy_episodes", "event_sequence"))


def test_restore__refuses_a_home_that_holds_something(database_url: str, other: str, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar.zst"
    with front.started(tmp_path, database_url, {"quick": front.definition()}) as world:
        made = world.system.upkeep.backup(file, empty=True)
        with pytest.raises(errors.Conflict, match="at work"):
            restore(target(tmp_path, database_url), file, replace=True)
        id = front.train(world.client)["result"]["model_version_id"]
    before = rows(database_url)
    with pytest.raises(errors.Conflict, match="not empty"):
        restore(target(tmp_path, database_url), file)
    assert rows(database_url) == before
    assert restore(target(tmp_path, database_url), file, replace=True).rows == made.rows
    assert id not in str(rows(database_url)["model_versions"])


def test_restore__that_fails_leaves_what_was_there(database_url: str, tmp_path: Path) -> None:
    """Between the check and the restore the file is cut short."""
    file, cut = tmp_path / "backup.tar.zst", tmp_path / "cut.tar.zst"
    with front.started(tmp_path, database_url, {"quick": front.definition()}) as world:
        front.train(world.client)
        world.system.upkeep.backup(file)
    before, system = rows(database_url), target(tmp_path, database_url)
    cut.write_bytes(file.read_bytes()[:-2000])
    system.start_database(restoring=True)
    try:
        with pytest.raises(errors.BadArchive):
            system.upkeep.restore(cut, system.upkeep.restore.check(file), replace=True)
    finally:
        system.stop()
    assert rows(database_url) == before
    assert [path for path in system.config.home.rglob("*") if path.is_file()] == []


def test_upgrade__a_home_of_an_earlier_release_is_opened_and_goes_on(database_url: str, other: str, tmp_path: Path) -> None:
    """As that release left it, at its own revision; the present one moves it up when it starts."""
    system = target(tmp_path, other)
    (tmp_path / "data").mkdir()
    front.hourly().to_parquet(tmp_path / "data" / "hourly.parquet")
    system.start_database()
    try:
        put(system, OLD)
    finally:
        system.stop()
    system = target(tmp_path, other)
    system.start()
    try:
        client = front.app_of(system).test_client()
        assert system.services.schema.current() == HEAD
        assert system.verifier().faults == []
        for path in ("/models/quick", "/models/quick/versions", "/models/quick/promotions", "/schedules/weekly", "/datasets/plant"):
            assert client.get(path).status_code == 200
        events = client.get("/events?after_sequence=0&limit=200").json["items"]  # type: ignore[index]
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        assert {"accuracy.degraded", "model.demoted", "run.failed", "data.appended"} <= {event["type"] for event in events}
        assert len(client.get("/datasets/plant/rows").json["items"]) == 8  # type: ignore[index]
        for run in client.get("/runs?status=succeeded").json["items"]:  # type: ignore[index]
            found = front.ended(client.post(f"/runs/{run['id']}/replay", headers=front.WAIT))["result"]
            # an old model forecasts what it did; a training may come to another one, by a recipe that has changed since, and says so
            assert found["verdict"] == "identical" or (run["kind"] == "train" and "code" in [why.get("name") for why in found["why"]])
        assert front.predict(client)["status"] == front.train(client)["status"] == "succeeded"
        assert len(client.get("/models/quick/versions").json["items"]) == 3  # type: ignore[index]
    finally:
        system.stop()


def put(system: System, file: Path) -> None:
    """The rows and blobs of an archive, and nothing more: no move of the schema."""
    maker = system.upkeep.restore
    maker._migrator.rise = lambda connection: None  # type: ignore[method-assign]
    maker(file, maker.check(file))
    assert system.services.schema.current() == "009"


def test_upgrade__there_is_a_home_of_an_earlier_revision_with_rows_in_every_table() -> None:
    manifest = archive.checked(OLD)
    assert manifest.revision < HEAD
    assert all(table.rows for table in manifest.tables)
    assert len(manifest.tables) == 19
