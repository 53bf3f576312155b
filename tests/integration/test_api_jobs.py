"""/job/train and /job/predict, by the contract."""

import re
from datetime import datetime
from typing import Any

import front
import pandas as pd
import pytest
from flask.testing import FlaskClient
from front import PREDICT, TRAIN, World

RUN = {
    "id",
    "kind",
    "model_name",
    "status",
    "trigger",
    "spec",
    "attempt",
    "priority",
    "created_at",
    "started_at",
    "finished_at",
    "progress",
    "result",
    "error",
}


@pytest.fixture(scope="module")
def trained(world: World) -> Any:
    """The run of one training that the gate accepted."""
    return front.train(world.client)


def test_train__is_queued_and_answered_with_its_address(world: World) -> None:
    answer = world.client.post("/job/train", json=TRAIN | {"model_name": "naive"})
    assert answer.status_code == 202
    assert answer.json is not None
    assert answer.headers["Location"] == f"/runs/{answer.json['id']}"
    assert "Preference-Applied" not in answer.headers
    assert set(answer.json) == RUN
    assert answer.json["status"] == "queued"
    assert answer.json["trigger"] == {"type": "api"}
    assert answer.json["result"] is answer.json["error"] is answer.json["started_at"] is answer.json["finished_at"] is None
    ended = world.system.services.waiter.wait(answer.json["id"], seconds=30)
    assert ended.finished


def test_train__tells_what_the_contract_promises(trained: Any) -> None:
    assert set(trained) == RUN
    assert trained["status"] == "succeeded", trained["error"]
    result = trained["result"]
    assert {"model_version_id", "metrics", "validation", "promoted", "data"} <= set(result)
    assert {"mae", "rmse"} <= set(result["metrics"])
    assert result["promoted"] is True
    assert result["validation"]["decision"] == "accepted"
    assert {"name", "passed", "value", "threshold", "detail"} <= set(result["validation"]["checks"][0])
    assert result["data"]["rows"] == 75 * 24
    assert result["data"]["start"] == "2020-01-01T00:00:00Z"
    assert result["data"]["end"] == "2020-03-15T23:00:00Z"
    assert re.fullmatch("[0-9a-f]{64}", result["data"]["sha256"])
    assert trained["spec"]["start_date"] == "2020-01-01T00:00:00Z"
    assert trained["spec"]["end_date"] == "2020-03-16T00:00:00Z"


def test_train__instants_are_rfc3339_in_utc_and_in_order(trained: Any) -> None:
    texts = [trained[name] for name in ("created_at", "started_at", "finished_at")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", text) for text in texts)
    assert texts == sorted(texts)


def test_prefer__wait_holds_the_answer_until_the_run_ends(world: World) -> None:
    answer = world.client.post("/job/train", json=TRAIN | {"model_name": "naive"}, headers={"Prefer": "respond-async, wait=30"})
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert answer.json is not None
    assert answer.headers["Location"] == f"/runs/{answer.json['id']}"
    assert answer.json["status"] == "succeeded"


@pytest.mark.parametrize("prefer", ["wait=abc", "wait=-1", "wait", "wait=1.5", "handling=lenient", ""])
def test_prefer__that_cannot_be_read_is_ignored(world: World, prefer: str) -> None:
    answer = world.client.post("/job/train", json=TRAIN | {"model_name": "naive"}, headers={"Prefer": prefer})
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers
    assert answer.json is not None
    world.system.services.waiter.wait(answer.json["id"], seconds=30)


def test_predict__writes_a_row_for_every_step(world: World, trained: Any) -> None:
    run = front.predict(world.client)
    assert run["status"] == "succeeded", run["error"]
    result = run["result"]
    assert result["model_version_id"] == trained["result"]["model_version_id"]
    assert set(result["output"]) == {"uri", "rows", "sha256"}
    assert result["output"]["rows"] == 48
    table = pd.read_parquet(result["output"]["uri"].removeprefix("file://"))
    assert len(table) == 48
    assert table["prediction"].notna().all()


def test_predict__with_a_version_named_uses_it(world: World, trained: Any) -> None:
    never = front.train(world.client, promote="never", end_date="2020-03-10")
    assert never["result"]["promoted"] is False
    run = front.predict(world.client, model_version_id=never["result"]["model_version_id"])
    assert run["result"]["model_version_id"] == never["result"]["model_version_id"]
    assert front.predict(world.client)["result"]["model_version_id"] == trained["result"]["model_version_id"]


def test_predict__without_a_version_in_production_is_a_conflict(world: World) -> None:
    answer = world.client.post("/job/predict", json=PREDICT | {"model_name": "idle"})
    assert answer.status_code == 409
    assert "Train one" in answer.text


def test_predict__with_the_model_of_a_time_before_any_is_a_conflict(world: World, trained: Any) -> None:
    answer = world.client.post("/job/predict", json=PREDICT | {"model_at": "2020-01-01"})
    assert answer.status_code == 409
    assert "at 2020-01-01T23:59:59.999999Z" in answer.text


def test_window__offsets_and_instants_are_the_same_window(world: World) -> None:
    asked = {"start_date": "2020-01-01T02:00:00+02:00", "end_date": "2020-03-16T00:00:00Z", "model_name": "naive"}
    run = front.train(world.client, **asked)
    assert (run["spec"]["start_date"], run["spec"]["end_date"]) == ("2020-01-01T00:00:00Z", "2020-03-16T00:00:00Z")


def test_window__plain_dates_are_read_in_the_model_s_zone(world: World) -> None:
    run = front.train(world.client, model_name="idle", promote="never")
    assert (run["spec"]["start_date"], run["spec"]["end_date"]) == ("2019-12-31T23:00:00Z", "2020-03-15T23:00:00Z")


@pytest.mark.parametrize("flag", [True, "true", "True"])
def test_time_travel__without_created_at_says_how_to_declare_one(world: World, flag: object) -> None:
    for path, body in (("/job/train", TRAIN), ("/job/predict", PREDICT)):
        answer = world.client.post(path, json=body | {"time_travel": flag, "time_travel_date": "2020-02-01"})
        assert "models.quick.created_at in config.yaml" in front.errors_of(answer)["time_travel_date"][0]


def test_time_travel__needs_a_date_and_a_date_needs_time_travel(world: World) -> None:
    assert list(front.errors_of(world.client.post("/job/train", json=TRAIN | {"time_travel": "true"}))) == ["time_travel_date"]
    answer = world.client.post("/job/train", json=TRAIN | {"time_travel": False, "time_travel_date": "2020-01-01"})
    assert list(front.errors_of(answer)) == ["time_travel"]


def test_time_travel__the_knob_that_cannot_be_turned_is_named(world: World, trained: Any) -> None:
    assert list(front.errors_of(world.client.post("/job/predict", json=PREDICT | {"data_at": "2020-02-01"}))) == ["data_at"]


def test_time_travel__trains_on_what_was_known_and_promotes_nothing(world: World) -> None:
    table = front.hourly().assign(known=lambda frame: frame["time"])
    late = table.tail(600).assign(power=0.0, known=pd.Timestamp("2021-01-01", tz="UTC"))
    pd.concat([table, late]).to_parquet(world.data / "dated.parquet")
    asked = {"model_name": "dated", "file_path": "dated.parquet", "time_travel": "true", "time_travel_date": "2020-12-31"}
    run = front.train(world.client, **asked)
    assert run["status"] == "succeeded", run["error"]
    assert run["spec"]["known_at"] == "2020-12-31T23:59:59.999999Z"
    assert run["result"]["promoted"] is False
    assert datetime.fromisoformat(run["spec"]["known_at"]).utcoffset() is not None


def test_params__of_the_request_are_used_and_kept(world: World) -> None:
    run = front.train(world.client, params={"seed": 7, "num_iterations": 5}, promote="never")
    assert run["spec"]["params"] == {"seed": 7, "num_iterations": 5}
    version = world.client.get(f"/models/quick/versions/{run['result']['model_version_id']}").json
    assert version is not None
    assert version["spec"]["definition"]["model"]["params"] == front.QUICK | {"seed": 7, "num_iterations": 5}


def test_train__twice_on_the_same_data_gives_the_same_artifact(world: World) -> None:
    ids = [front.train(world.client, promote="never")["result"]["model_version_id"] for _ in range(2)]
    artifacts = [_version(world.client, id)["artifact"]["sha256"] for id in ids]
    assert ids[0] != ids[1]
    assert artifacts[0] == artifacts[1]


def _version(client: FlaskClient, id: str) -> Any:
    return client.get(f"/models/quick/versions/{id}").json


def test_trigger__of_our_own_command_line_is_told_apart(world: World) -> None:
    run = front.ended(
        world.client.post("/job/train", json=TRAIN | {"model_name": "naive"}, headers=front.WAIT | {"User-Agent": "mlsys-cli/0"})
    )
    assert run["trigger"] == {"type": "cli"}


@pytest.mark.parametrize("name", ["nothing", "Prognose für Köln", "quick ", "QUICK", "quick/../idle", "\U0001f31e", "x" * 200])
def test_model_name__unknown_is_named(world: World, name: str) -> None:
    for path, body in (("/job/train", TRAIN), ("/job/predict", PREDICT)):
        found = front.errors_of(world.client.post(path, json=body | {"model_name": name}))
        assert list(found) == ["model_name"]
        assert "GET /models" in found["model_name"][0]
