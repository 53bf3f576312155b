"""POST /runs/{id}/retry, through the front."""

from typing import Any

import front
import pytest
from front import WAIT, World


@pytest.fixture(scope="module")
def trained(world: World) -> Any:
    """A training with parameters of its own."""
    return front.train(world.client, params={"seed": 3, "learning_rate": 0.2})


@pytest.fixture(scope="module")
def predicted(world: World, trained: Any) -> Any:
    return front.predict(world.client)


def retry(world: World, run: Any, **changes: Any) -> Any:
    return front.ended(world.client.post(f"/runs/{run['id']}/retry", json=changes or None, headers=WAIT))


def test_retry__without_a_body_is_the_same_once_more(world: World, trained: Any, predicted: Any) -> None:
    for run in (trained, predicted):
        again = retry(world, run)
        assert again["id"] != run["id"]
        assert (again["kind"], again["trigger"], again["status"]) == (run["kind"], {"type": "api"}, "succeeded")
        assert again["spec"] == run["spec"]
        assert again["result"]["data"] == run["result"]["data"]
    assert retry(world, trained)["result"]["metrics"]["mae"] == trained["result"]["metrics"]["mae"]


def test_retry__keeps_to_the_version_of_the_prediction(world: World, predicted: Any) -> None:
    newer = front.train(world.client, end_date="2020-03-10", promote="never")["result"]["model_version_id"]
    world.client.post("/model/promote", json={"model_name": "quick", "model_version_id": newer})
    version = predicted["result"]["model_version_id"]
    assert retry(world, predicted)["result"]["model_version_id"] == version
    assert retry(world, predicted, model_version_id=newer)["result"]["model_version_id"] == newer
    assert front.errors_of(world.client.post(f"/runs/{predicted['id']}/retry", json={"model_version_id": "none"})).keys() == {
        "model_version_id"
    }
    world.client.post("/model/promote", json={"model_name": "quick", "model_version_id": version})


def test_retry__changes_just_the_fields_given(world: World, trained: Any) -> None:
    again = retry(world, trained, params={"seed": 4}, promote="never", start_date="2020-01-02")
    old, new = trained["spec"], again["spec"]
    assert new["params"] == {"seed": 4, "learning_rate": 0.2}
    assert new["definition"]["model"]["params"] == {**old["definition"]["model"]["params"], "seed": 4}
    assert (new["start_date"], new["end_date"], new["promote"]) == ("2020-01-02T00:00:00Z", old["end_date"], "never")
    untouched = old.keys() - {"params", "definition", "start_date", "promote"}
    assert {name: new[name] for name in untouched} == {name: old[name] for name in untouched}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"start_date": "2021-01-01"}, "end_date"),
        ({"params": {"speed": 1}}, "params.speed"),
        ({"file_path": "nothing.parquet"}, "file_path"),
        ({"model_version_id": "x"}, "model_version_id"),
        ({"model_name": "naive"}, "model_name"),
        ({"colour": 1}, "colour"),
        ({"time_travel_date": "2020-01-01"}, "time_travel_date"),
    ],
)
def test_retry__is_held_to_what_the_job_is_held_to(world: World, trained: Any, body: dict[str, Any], field: str) -> None:
    assert field in front.errors_of(world.client.post(f"/runs/{trained['id']}/retry", json=body))


def test_retry__of_a_run_that_goes_on_is_a_conflict(world: World) -> None:
    with world.system.services.units() as unit:
        id = unit.runs.add(kind="train", model_name="quick", trigger={"type": "api"}, spec={})
        assert unit.runs.claim(owner=1, among=[id]) is not None
        unit.runs.requeue(id, expected="running", delay=3600)  # nobody takes it meanwhile
        unit.commit()
    front.errors_of(world.client.post(f"/runs/{id}/retry"), 409)
    front.errors_of(world.client.post("/runs/nothing/retry"), 404)


def test_retry__of_a_failed_run(world: World) -> None:
    failed = front.train(world.client, start_date="2020-01-01", end_date="2020-01-02")
    assert failed["status"] == "failed"
    assert retry(world, failed)["error"] == failed["error"]
    assert retry(world, failed, end_date="2020-03-15", promote="never")["status"] == "succeeded"


def test_retry__of_a_run_in_the_past_stays_there_unless_told_otherwise(world: World) -> None:
    world.client.post("/datasets", json={"name": "retried", "timestamp": "time", "columns": {"power": "number", "wind": "number"}})
    body = front.hourly().to_json(orient="records", date_format="iso", lines=True)
    assert world.client.post("/datasets/retried/rows", data=body, content_type="application/x-ndjson").status_code == 201
    past = front.train(world.client, dataset="retried", time_travel_date="2100-01-01")
    assert past["spec"]["promote"] == "never"
    again = retry(world, past)
    assert (again["spec"], again["status"]) == (past["spec"], "succeeded")
    assert retry(world, past, time_travel=False)["spec"] == past["spec"] | {"known_at": None}
    other = retry(world, past, time_travel_date="2000-01-01")
    assert (other["spec"]["known_at"], other["status"]) == ("2000-01-01T23:59:59.999999Z", "failed")
    assert "created_at" in str(front.errors_of(world.client.post(f"/runs/{past['id']}/retry", json={"file_path": "hourly.parquet"})))
