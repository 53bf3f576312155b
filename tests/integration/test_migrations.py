"""The schema moves up and down without losing what it should keep, on the embedded and on a system's PostgreSQL alike."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import front
import pytest
import sqlalchemy as sa
from front import World
from serving import HEAD

from mlsys import errors
from mlsys.storage import tables
from mlsys.storage.database import make_engine
from mlsys.storage.migrate import Migrator


@pytest.fixture
def engine(server, request: pytest.FixtureRequest) -> Iterator[sa.Engine]:  # type: ignore[no-untyped-def]
    """An empty database."""
    url = server.empty()
    engine = make_engine(url, pool_size=4, statement_timeout_seconds=30)
    yield engine
    engine.dispose()
    server.drop(url)


def tables_of(engine: sa.Engine) -> set[str]:
    return set(sa.inspect(engine).get_table_names())


def insert_run(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.insert(tables.runs),
            {
                "id": "r1",
                "kind": "train",
                "model_name": "m",
                "trigger": {},
                "spec": {"a": 1},
                "created_at": datetime(2020, 1, 1, tzinfo=UTC),
            },
        )


def runs_of(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(sa.select(tables.runs.c.id)))


def test_upgrade__from_nothing_to_head_and_again_changes_nothing(engine: sa.Engine) -> None:
    migrator = Migrator(engine=engine)
    assert migrator.current() is None
    assert migrator.upgrade() == (None, HEAD)
    insert_run(engine)
    assert migrator.upgrade() == (HEAD, HEAD)
    assert migrator.upgrade("000") == (HEAD, HEAD)
    assert runs_of(engine) == ["r1"]


def test_upgrade__stops_where_it_is_told(engine: sa.Engine) -> None:
    migrator = Migrator(engine=engine)
    assert migrator.upgrade("000") == (None, "000")
    assert "events" not in tables_of(engine)
    assert migrator.upgrade() == ("000", HEAD)
    assert "events" in tables_of(engine)


def test_downgrade__to_001_and_up_again_keeps_the_rows_of_000(engine: sa.Engine) -> None:
    migrator = Migrator(engine=engine)
    migrator.upgrade()
    insert_run(engine)
    assert migrator.downgrade("001") == (HEAD, "000")
    assert migrator.downgrade("001") == ("000", "000")
    assert runs_of(engine) == ["r1"]
    assert migrator.upgrade() == ("000", HEAD)
    assert runs_of(engine) == ["r1"]


def test_downgrade__to_000_starts_over(engine: sa.Engine) -> None:
    migrator = Migrator(engine=engine)
    migrator.upgrade()
    assert migrator.downgrade("000") == (HEAD, None)
    assert tables_of(engine) == {"mlsys_revision"}
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM pg_proc WHERE proname LIKE 'mlsys%'")) == 0
    assert migrator.downgrade("000") == (None, None)
    assert migrator.upgrade() == (None, HEAD)


def test_downgrade__that_would_lose_rows_changes_nothing_unless_forced(engine: sa.Engine) -> None:
    migrator = Migrator(engine=engine)
    migrator.upgrade()
    insert_run(engine)
    with pytest.raises(errors.Conflict, match="rows of: runs"):
        migrator.downgrade("000")
    assert (migrator.current(), runs_of(engine)) == (HEAD, ["r1"])
    assert migrator.downgrade("000", force=True) == (HEAD, None)


def test_downgrade__sees_rows_that_others_are_about_to_commit(engine: sa.Engine) -> None:
    migrator = Migrator(engine=engine)
    migrator.upgrade()
    failed: list[BaseException] = []

    def down() -> None:
        try:
            migrator.downgrade("000")
        except errors.Conflict as error:
            failed.append(error)

    with engine.begin() as connection:
        values = {"name": "m", "definition": {}, "created_at": datetime(2020, 1, 1, tzinfo=UTC)}
        connection.execute(sa.insert(tables.models), values)
        thread = threading.Thread(target=down)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive(), "it waits for the transaction that writes"
    thread.join(20)
    assert len(failed) == 1
    assert migrator.current() == HEAD


@pytest.mark.parametrize("revision", ["043", "999", "", "head", "base", "-1", "0", "000+1", "001:000", "; DROP TABLE runs", "../x", "é"])
def test_revision__unknown_is_invalid_both_ways(engine: sa.Engine, revision: str) -> None:
    migrator = Migrator(engine=engine)
    for move in (migrator.upgrade, migrator.downgrade):
        if revision or move == migrator.downgrade:
            with pytest.raises(errors.Invalid) as refused:
                move(revision)
            assert list(refused.value.fields) == ["version"]


def test_revision__of_a_newer_mlsys_is_told_clearly(engine: sa.Engine) -> None:
    migrator = Migrator(engine=engine)
    migrator.upgrade()
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE mlsys_revision SET version_num = '042'"))
    for action in (migrator.current, migrator.upgrade, lambda: migrator.downgrade("000", force=True)):
        with pytest.raises(errors.Conflict, match="revision 042, which this mlsys does not know: a newer one made it"):
            action()


def test_move__that_breaks_half_way_changes_nothing(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE events ()"))  # in the way of 001
    with pytest.raises(sa.exc.ProgrammingError, match="already exists"):
        Migrator(engine=engine).upgrade()
    assert Migrator(engine=engine).current() is None
    assert tables_of(engine) == {"events"}


_ASK = """
import sys
from mlsys.storage.database import make_engine
from mlsys.storage.migrate import Migrator
migrator = Migrator(engine=make_engine(sys.argv[1], pool_size=1, statement_timeout_seconds=30))
print("ready", flush=True)
sys.stdin.readline()
print(migrator.upgrade()[1])
"""


def test_upgrade__four_processes_at_once_all_succeed(engine: sa.Engine) -> None:
    command = [sys.executable, "-c", _ASK, engine.url.render_as_string(hide_password=False)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(4)]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], told
    assert [out for out, _ in told] == [f"{HEAD}\n"] * 4
    assert Migrator(engine=engine).current() == HEAD


def test_tables__are_what_the_migrations_make(engine: sa.Engine) -> None:
    Migrator(engine=engine).upgrade()
    found = sa.MetaData()
    found.reflect(engine)
    assert set(found.tables) - {"mlsys_revision"} == set(tables.metadata.tables)
    for name, table in tables.metadata.tables.items():
        assert _described(table, engine) == _described(found.tables[name], engine), name


def _described(table: sa.Table, engine: sa.Engine) -> dict[str, tuple[str, bool | None, bool]]:
    return {c.name: (c.type.compile(engine.dialect), c.nullable, c.primary_key) for c in table.columns}


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    with front.started(tmp_path, database_url, {"quick": front.definition(model={"type": "seasonal_naive"})}) as found:
        yield found


def migrate(world: World, **query: str) -> tuple[int, object]:
    answer = world.client.get("/migrate/", query_string=query)
    return answer.status_code, answer.json


def test_http__down_and_up_again_keeps_everything_working(world: World) -> None:
    run = front.train(world.client)
    assert migrate(world, version="001") == (200, {"from": HEAD, "to": HEAD})
    assert migrate(world) == (200, {"from": HEAD, "to": HEAD})
    status, problem = migrate(world, version="001", direction="down")
    assert (status, "rows of: events" in str(problem)) == (409, True)
    assert world.client.get("/runs").status_code == 200
    assert migrate(world, version="001", direction="down", force="true") == (200, {"from": HEAD, "to": "000"})
    for path in ("/runs", "/models", "/openapi.json", "/nowhere", "/", f"/runs/{run['id']}"):
        answer = world.client.get(path)
        assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "5"), path
    assert world.client.post("/job/train", json=front.TRAIN).status_code == 503
    assert world.client.post("/model/demote?model_name=quick").status_code == 503
    health = world.client.get("/health/")
    assert health.status_code == 200
    assert health.json is not None
    assert (health.json["status"], health.json["checks"]["database"]["at_head"]) == ("degraded", False)
    assert migrate(world, version=HEAD) == (200, {"from": "000", "to": HEAD})
    assert world.client.get(f"/runs/{run['id']}").json == run
    assert front.train(world.client)["status"] == "succeeded"


def test_http__starting_over_declares_the_models_again(world: World) -> None:
    front.train(world.client)
    assert migrate(world, version="000", direction="down")[0] == 409
    assert migrate(world, version="000", direction="down", force="true") == (200, {"from": HEAD, "to": None})
    assert migrate(world, direction="up") == (200, {"from": None, "to": HEAD})
    listed = world.client.get("/runs").json
    assert listed == {"items": [], "next_cursor": None}
    run = front.train(world.client)
    assert (run["status"], world.client.get("/models/quick/versions").json["items"][0]["version"]) == ("succeeded", 1)  # type: ignore[index]


def test_http__bad_queries_are_named(world: World) -> None:
    for query, field in (
        ({"version": "999"}, "version"),
        ({"version": "999", "direction": "down"}, "version"),
        ({"direction": "down"}, "version"),
        ({"direction": "left"}, "direction"),
        ({"force": "maybe"}, "force"),
        ({"revision": "000"}, "revision"),
        ({"version": ""}, "version"),
    ):
        assert list(front.errors_of(world.client.get("/migrate/", query_string=query))) == [field], query
    assert migrate(world) == (200, {"from": HEAD, "to": HEAD})


def test_http__a_schema_that_another_process_moved_is_503_then_works_again(world: World) -> None:
    front.train(world.client)
    other = Migrator(engine=world.system.engine)
    other.downgrade("000", force=True)
    for path in ("/runs", "/models/quick"):
        assert world.client.get(path).status_code == 503
    assert world.client.get("/health/").json["checks"]["database"]["at_head"] is False  # type: ignore[index]
    assert world.client.get("/openapi.json").status_code == 503
    other.upgrade()
    assert world.client.get("/models/quick").status_code == 200
    assert front.train(world.client)["status"] == "succeeded"
