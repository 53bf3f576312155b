"""``as_of``: every registry as it stood at an instant, told by the same queries as the present."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import front
import pytest
import sqlalchemy as sa
from front import World

from mlsys.registry.unit_of_work import Units
from mlsys.storage import tables
from mlsys.storage.migrate import Migrator

MODELS = {"quick": front.definition(model={"type": "seasonal_naive"}), "amsterdam": front.definition(timezone="Europe/Amsterdam")}


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = embedded_server.clone()
    with front.started(tmp_path_factory.mktemp("as_of"), url, MODELS) as found:
        yield found
    embedded_server.drop(url)


def get(world: World, path: str, as_of: Any = None) -> Any:
    answer = world.client.get(path, query_string={} if as_of is None else {"as_of": as_of})
    assert answer.status_code == 200, answer.text
    return answer.json


def now() -> str:
    return datetime.now(UTC).isoformat()


ADDRESSES = (
    "/runs",
    "/models",
    "/models/quick",
    "/models/quick/versions",
    "/models/quick/promotions",
    "/datasets",
    "/schedules",
)


def test_as_of__each_answer_is_the_one_that_was_given_then(world: World) -> None:
    """A life is lived, and at each step of it all addresses are asked; in the end the past still answers the same."""
    told: list[tuple[str, dict[str, Any]]] = []

    def look(*more: str) -> None:
        told.append((now(), {path: get(world, path) for path in (*ADDRESSES, *more)}))

    look()
    first = front.train(world.client, promote="never")
    one = first["result"]["model_version_id"]
    look(f"/runs/{first['id']}", f"/runs/{first['id']}/history", f"/runs/{first['id']}/logs", f"/models/quick/versions/{one}")
    promote(world, one)
    look("/models/quick/production", f"/models/quick/versions/{one}")
    two = front.train(world.client, promote="never", end_date="2020-03-10")["result"]["model_version_id"]
    world.client.post("/datasets", json={"name": "d", "timestamp": "time"})
    look("/models/quick/production", "/datasets/d")
    promote(world, two)
    world.client.post("/datasets/d/rows", json=[{"time": "2020-01-01T00:00:00Z", "power": 1.5}])
    look("/models/quick/production", f"/models/quick/versions/{one}", f"/models/quick/versions/{two}", "/datasets/d")
    world.client.get("/model/demote?model_name=quick")
    look("/models/quick/production", f"/models/quick/versions/{two}", "/datasets/d")
    for at, answers in told:
        for path, answer in answers.items():
            assert get(world, path, at) == answer, (at, path)
    versions = [answers["/models/quick/production"]["model_version_id"] for _, answers in told[2:]]
    assert versions == [one, one, two, one]


def promote(world: World, version: str) -> None:
    answer = world.client.post("/model/promote", json={"model_name": "quick", "model_version_id": version})
    assert answer.status_code == 200, answer.text


def test_as_of__what_came_later_was_not_there(world: World) -> None:
    before = now()
    run = front.train(world.client, promote="auto", end_date="2020-03-12")
    version = run["result"]["model_version_id"]
    assert run["id"] in [item["id"] for item in get(world, "/runs")["items"]]
    assert run["id"] not in [item["id"] for item in get(world, "/runs", before)["items"]]
    for path in (f"/runs/{run['id']}", f"/runs/{run['id']}/history", f"/models/quick/versions/{version}"):
        front.errors_of(world.client.get(path, query_string={"as_of": before}), 404)
    for path in ("/models/quick", "/models/quick/production", "/models/quick/versions", "/models/quick/promotions"):
        front.errors_of(world.client.get(path, query_string={"as_of": "2020-01-01"}), 404)
    early = world.client.get("/models/quick/production?as_of=2020-01-01").json
    assert early is not None
    assert early["detail"].startswith("The model 'quick' did not exist yet at 2020-01-0")
    assert get(world, "/models/quick")["created_at"] in early["detail"]
    assert get(world, "/models", "2020-01-01T00:00:00Z") == {"items": [], "next_cursor": None}


def test_as_of__a_run_has_the_status_that_it_had(world: World) -> None:
    run = front.train(world.client, promote="never", end_date="2020-03-05")
    changes = list(reversed(get(world, f"/runs/{run['id']}/history")["items"]))
    assert [change["status"] for change in changes] == ["queued", "running", "succeeded"]
    for change in changes:
        then = get(world, f"/runs/{run['id']}", change["at"])
        assert (then["status"], then["result"] is not None) == (change["status"], change["status"] == "succeeded")
        assert (then["started_at"], then["finished_at"]) == (
            None if change["status"] == "queued" else changes[1]["at"],
            changes[2]["at"] if change["status"] == "succeeded" else None,
        )
        same = world.client.get("/runs", query_string={"as_of": change["at"], "status": change["status"]}).json["items"]  # type: ignore[index]
        assert run["id"] in [item["id"] for item in same]


def test_as_of__the_definition_is_the_one_declared_then(world: World) -> None:
    before = now()
    with world.system.services.units() as unit:
        changed = {**(unit.models.definition("amsterdam") or {}), "horizon": "P2D"}
        unit.models.define("amsterdam", changed)
        unit.commit()
    assert get(world, "/models/amsterdam")["definition"]["horizon"] == "P2D"
    assert get(world, "/models/amsterdam", before)["definition"]["horizon"] == "P1D"


def test_as_of__a_plain_date_counts_whole_in_the_models_time_zone(world: World) -> None:
    today = datetime.now(UTC).date()
    assert get(world, "/models", today.isoformat())["items"]
    assert get(world, "/models/amsterdam", (today + timedelta(days=1)).isoformat())["name"] == "amsterdam"
    front.errors_of(world.client.get(f"/models/amsterdam?as_of={today - timedelta(days=3)}"), 404)


@pytest.mark.parametrize("path", [*ADDRESSES, "/models/quick/production"])
def test_as_of__what_is_no_instant_is_refused(world: World, path: str) -> None:
    for text in ("yesterday", "2020-02-30", "2020-01-01T00:00:00", "", "9999-12-31"):
        assert list(front.errors_of(world.client.get(path, query_string={"as_of": text}))) == ["as_of"]


def test_units__of_the_past_write_nothing_and_leave_the_connection_as_it_was(world: World) -> None:
    units = world.system.services.units
    with pytest.raises(sa.exc.DBAPIError, match="read-only"), units(as_of=datetime(2030, 1, 1, tzinfo=UTC)) as unit:
        unit.models.define("new", {"a": 1})
    with units(as_of=datetime(2000, 1, 1, tzinfo=UTC)) as unit:
        assert unit.models.list(limit=10, cursor=None).items == []
    with units() as unit:
        assert len(unit.models.list(limit=10, cursor=None).items) == len(MODELS)


def test_views__of_the_past_have_every_column_of_their_tables(engine: sa.Engine) -> None:
    Migrator(engine=engine).upgrade()
    found = sa.MetaData(schema="mlsys_as_of")
    found.reflect(engine, views=True)
    views = {name.removeprefix("mlsys_as_of."): view for name, view in found.tables.items()}
    assert set(views) == set(tables.metadata.tables)
    for name, table in tables.metadata.tables.items():
        described = [{c.name: c.type.compile(engine.dialect) for c in one.columns} for one in (table, views[name])]
        assert described[0] == described[1], name


def test_units__production_then_is_found_by_an_index(engine: sa.Engine, units: Units) -> None:
    Migrator(engine=engine).upgrade()
    with engine.begin() as connection:
        connection.execute(sa.text(FILL))
        connection.execute(sa.text("ANALYZE promotions"))
        connection.execute(sa.text("ANALYZE model_versions"))
    day = datetime(2020, 1, 1, tzinfo=UTC)
    for number in (1, 10_000, 19_999):
        with units(as_of=day + timedelta(minutes=number)) as unit:  # type: ignore[call-arg]
            version = unit.versions.production("m")
            assert version is not None
            assert (version.model_version_id, version.status) == (f"v{number}", "production")
            plan = "\n".join(unit._connection.scalars(sa.text("EXPLAIN " + QUERY)))
            assert "promotions_by_time" in plan, plan


QUERY = "SELECT model_version_id FROM promotions WHERE model_name = 'm' ORDER BY created_at DESC, sequence DESC LIMIT 1"
FILL = """
INSERT INTO runs (id, kind, model_name, trigger, spec, created_at) VALUES ('r', 'train', 'm', '{}', '{}', '2019-01-01Z');
INSERT INTO model_versions (model_version_id, model_name, version, run_id, created_at, artifact, twin, twin_cutoff,
    spec, metrics, validation)
SELECT 'v' || n, 'm', n, 'r', '2019-01-01Z', '{"sha256": "a", "size": 1, "uri": "u"}',
    '{"sha256": "a", "size": 1, "uri": "u"}', '2019-01-01Z', '{}', '{}',
    '{"decision": "accepted", "checks": []}' FROM generate_series(1, 20000) AS n;
INSERT INTO promotions (model_name, sequence, model_version_id, action, actor, created_at, hash)
SELECT 'm', n, 'v' || n, 'promote', 'x', timestamptz '2020-01-01Z' + n * interval '1 minute', 'h' FROM generate_series(1, 20000) AS n;
"""
