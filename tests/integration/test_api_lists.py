"""Lists: filters, pages whose cursor stays put while new rows arrive, and what the registry shows of models."""

from typing import Any

import front
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from front import World

TRIGGER = {"type": "api"}
LATER = sa.text("UPDATE run_state SET not_before = clock_timestamp() + interval '1 day' WHERE run_id = ANY(:ids)")


def add(world: World, number: int, *, model: str = "quick", kind: str = "train", trigger: str = "api") -> list[str]:
    """Queued runs that stay in the queue: their time has not come."""
    return put(world, [{"kind": kind, "model_name": model, "trigger": {"type": trigger}, "spec": {}}] * number)


def put(world: World, runs: list[dict[str, Any]]) -> list[str]:
    with world.system.services.units() as unit:
        found = [unit.runs.add(**run) for run in runs]
        unit._connection.execute(LATER, {"ids": found})
        unit.commit()
    return found


def page(client: FlaskClient, path: str, **query: Any) -> Any:
    answer = client.get(path, query_string=query)
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    assert set(answer.json) == {"items", "next_cursor"}
    return answer.json


def walk(client: FlaskClient, path: str, **query: Any) -> list[Any]:
    found = []
    while True:
        answer = page(client, path, **query)
        found += answer["items"]
        if answer["next_cursor"] is None:
            return found
        query |= {"cursor": answer["next_cursor"]}


@pytest.fixture(scope="module")
def many(world: World) -> list[str]:
    return [*add(world, 60), *add(world, 5, model="listed", kind="predict", trigger="schedule")]


def test_runs__come_newest_first_fifty_a_page(world: World, many: list[str]) -> None:
    first = page(world.client, "/runs")
    assert [run["id"] for run in first["items"]] == many[::-1][:50]
    assert [run["id"] for run in walk(world.client, "/runs")] == many[::-1]
    assert [run["id"] for run in walk(world.client, "/runs/", limit=7)] == many[::-1]


def test_runs__the_last_page_has_no_cursor_also_when_it_is_full(world: World, many: list[str]) -> None:
    assert page(world.client, "/runs", limit=5, model_name="listed")["next_cursor"] is None
    assert page(world.client, "/runs", limit=4, model_name="listed")["next_cursor"] is not None
    assert page(world.client, "/runs", model_name="nobody") == {"items": [], "next_cursor": None}


def test_runs__a_cursor_stays_put_while_new_runs_arrive(world: World, many: list[str]) -> None:
    first = page(world.client, "/runs", model_name="quick", limit=20)
    add(world, 30, model="quick")
    rest = walk(world.client, "/runs", model_name="quick", limit=20, cursor=first["next_cursor"])
    assert [run["id"] for run in first["items"] + rest] == many[:60][::-1]


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ({"model_name": "listed"}, 5),
        ({"kind": "predict"}, 5),
        ({"trigger": "schedule"}, 5),
        ({"status": "queued", "model_name": "listed"}, 5),
        ({"status": "succeeded", "model_name": "listed"}, 0),
        ({"kind": "train", "model_name": "listed"}, 0),
        ({"kind": "predict", "trigger": "schedule", "status": "queued", "model_name": "listed", "limit": 200}, 5),
    ],
)
@pytest.mark.usefixtures("many")
def test_runs__filters_are_joined_by_and(world: World, query: dict[str, Any], number: int) -> None:
    assert len(page(world.client, "/runs", **query)["items"]) == number


@pytest.mark.parametrize("limit", ["0", "201", "-1", "1.5", "x", "", "1e2", "9" * 400])
@pytest.mark.parametrize(
    "path", ["/runs", "/models", "/models/quick/versions", "/models/quick/promotions", "/runs/x/logs", "/runs/x/history"]
)
def test_limit__outside_1_to_200_is_invalid(world: World, path: str, limit: str) -> None:
    assert list(front.errors_of(world.client.get(path, query_string={"limit": limit}))) == ["limit"]


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "YmVmb3JlOjA", "YmVmb3JlOi0x", "YWZ0ZXI6MQ", "YmVmb3JlOjE=", "YmVmb3JlOjk5OTk5OTk5OTk5OTk5OTk5OTk5", "é", "x" * 101, "1"],
)
@pytest.mark.parametrize("path", ["/runs", "/models", "/models/quick/versions", "/models/quick/promotions"])
def test_cursor__that_no_page_gave_is_invalid(world: World, path: str, cursor: str) -> None:
    assert list(front.errors_of(world.client.get(path, query_string={"cursor": cursor}))) == ["cursor"]


@pytest.mark.parametrize("query", [{"kind": "cook"}, {"status": "done"}, {"trigger": "me"}, {"model_name": ""}, {"model_name": "x" * 201}])
def test_runs__filters_outside_their_words_are_invalid(world: World, query: dict[str, str]) -> None:
    assert list(front.errors_of(world.client.get("/runs", query_string=query))) == list(query)


@pytest.mark.parametrize("id", ["nothing", "x" * 5000, "é", "1; DROP TABLE runs", "%2e%2e"])
@pytest.mark.parametrize(
    "path", ["/runs/{}", "/runs/{}/logs", "/runs/{}/history", "/models/{}", "/models/{}/versions", "/models/{}/production"]
)
def test_unknown__is_not_found(world: World, path: str, id: str) -> None:
    front.errors_of(world.client.get(path.format(id)), 404)


def test_models__newest_declared_first_with_what_is_in_production(world: World) -> None:
    listed = page(world.client, "/models")["items"]
    assert [model["name"] for model in listed] == ["dated", "idle", "naive", "quick"]
    assert set(listed[0]) == {"name", "definition", "created_at", "updated_at", "production", "versions"}
    assert [model["name"] for model in walk(world.client, "/models", limit=1)] == ["dated", "idle", "naive", "quick"]
    assert (listed[0]["production"], listed[0]["versions"]) == (None, 0)
    front.errors_of(world.client.get("/models/quick/production"), 404)


def test_versions_and_promotions__tell_the_whole_story(world: World) -> None:
    ids = [front.train(world.client, end_date=f"2020-03-{day}")["result"]["model_version_id"] for day in (13, 14)]
    rejected = front.train(world.client, promote="never", end_date="2020-03-12")["result"]["model_version_id"]
    versions = page(world.client, "/models/quick/versions")["items"]
    assert [(version["version"], version["model_version_id"]) for version in versions] == [(3, rejected), (2, ids[1]), (1, ids[0])]
    current = world.client.get("/models/quick/production").json
    assert current is not None
    assert current["model_version_id"] in ids
    assert current["status"] == "production"
    assert next(version["status"] for version in versions if version["model_version_id"] == rejected) in ("candidate", "rejected")
    shape = {"model_version_id", "model_name", "version", "run_id", "created_at", "artifact", "spec", "metrics", "validation", "status"}
    assert set(current) == shape | {"freed"}
    assert set(current["artifact"]) == {"sha256", "size", "uri"}
    promotions = page(world.client, "/models/quick/promotions")["items"]
    assert promotions[-1]["action"] == "auto"
    assert promotions[-1]["previous_hash"] is None
    assert [promotion["sequence"] for promotion in promotions] == list(range(len(promotions), 0, -1))
    front.errors_of(world.client.get(f"/models/naive/versions/{ids[0]}"), 404)
    model = world.client.get("/models/quick").json
    assert model is not None
    assert (model["production"], model["versions"]) == (current["model_version_id"], 3)


def test_run__shows_its_json_as_it_was_stored(world: World) -> None:
    spec = {"text": 'é\u2028"\\\n', "numbers": [1.5, -0.1, 10**30, 1e-300], "nothing": None, "nested": {"a": [{}, []]}}
    (id,) = put(world, [{"kind": "predict", "model_name": "stored", "trigger": TRIGGER, "spec": spec}])
    with world.system.services.units() as unit:
        run = unit.runs.get(id)
    assert run.spec["nested"] == spec["nested"]
    assert dict(run.spec) | {"numbers": spec["numbers"]} == spec
    shown = world.client.get(f"/runs/{id}").json
    assert shown is not None
    assert shown["spec"] == spec
    assert (shown["trigger"], shown["progress"], shown["result"], shown["error"]) == (TRIGGER, None, None, None)
    assert page(world.client, "/runs", model_name="stored")["items"] == [shown]


def test_run__shows_its_history_and_its_log(world: World) -> None:
    run = front.train(world.client)
    history = page(world.client, f"/runs/{run['id']}/history")["items"]
    assert [(change["status"], change["attempt"]) for change in history] == [("succeeded", 1), ("running", 1), ("queued", 1)]
    assert history[0]["detail"]["result"] == run["result"]
    lines = walk(world.client, f"/runs/{run['id']}/logs", limit=1)
    assert "Read 1800 rows" in lines[-1]["message"]
    assert set(lines[0]) == {"at", "attempt", "level", "message"}
    assert world.client.get(f"/runs/{run['id']}").json == run
    assert world.client.get(f"/runs/{run['id']}/").json == run
