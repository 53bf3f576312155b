"""Predictions are kept: newest issue, as stored by an instant, pages, files; sources kept apart."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import front
import pandas as pd
import pytest
from front import World

MODELS = {
    "quick": front.definition(),
    "known": front.definition(created_at="known_at", source={"type": "parquet", "path": "known.parquet"}),
    "lonely": front.definition(),
}
ROW = ["timestamp", "prediction", "quality", "issued_at", "created_at", "model_version_id", "run_id"]


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = embedded_server.clone()
    with front.started(tmp_path_factory.mktemp("predictions"), url, MODELS) as found:
        rows = front.hourly()
        rows.assign(known_at=rows["time"] - pd.Timedelta("3D")).to_parquet(found.data / "known.parquet")
        for name in ("quick", "known"):
            front.train(found.client, model_name=name)
        yield found
    embedded_server.drop(url)


def listed(world: World, name: str = "quick", **query: Any) -> Any:
    answer = world.client.get(f"/models/{name}/predictions", query_string=query)
    assert answer.status_code == 200, answer.text
    return answer.json


def test_predictions__are_those_that_the_destination_got(world: World) -> None:
    run = front.predict(world.client)
    items = listed(world, start_date="2020-03-16", end_date="2020-03-17")["items"]
    written = pd.read_parquet(run["result"]["output"]["uri"].removeprefix("file://"))
    assert [list(item) for item in items] == [ROW] * 48
    assert [item["prediction"] for item in items] == written["prediction"].tolist()
    assert [pd.Timestamp(item["timestamp"]) for item in items] == written["time"].tolist()
    assert [pd.Timestamp(item["issued_at"]) for item in items] == written["issued_at"].tolist()
    assert {(item["run_id"], item["model_version_id"]) for item in items} == {(run["id"], run["result"]["model_version_id"])}
    assert run["started_at"] <= items[0]["created_at"] <= run["finished_at"]


def test_predictions__the_newest_issue_of_each_timestamp_or_as_stored_by_then(world: World) -> None:
    first = front.predict(world.client, start_date="2020-02-01", end_date="2020-02-02")
    moment = listed(world)["known_at"]
    second = front.predict(world.client, start_date="2020-02-02", end_date="2020-02-03")
    window = {"start_date": "2020-02-01", "end_date": "2020-02-03"}
    runs = [item["run_id"] for item in listed(world, **window)["items"]]
    assert runs == [first["id"]] * 24 + [second["id"]] * 48
    then = listed(world, **window, data_at=moment)["items"]
    assert [item["run_id"] for item in then] == [first["id"]] * 48
    assert listed(world, **window, data_at="2020-01-01")["items"] == []


def test_predictions__from_knowledge_of_the_past_are_kept_apart(world: World) -> None:
    window = {"start_date": "2020-03-16", "end_date": "2020-03-16"}
    live = front.predict(world.client, model_name="known", **window)
    past = front.predict(world.client, model_name="known", data_at="2020-03-15", **window)
    assert {item["run_id"] for item in listed(world, "known")["items"]} == {live["id"]}
    found = listed(world, "known", source="backfill")["items"]
    assert {item["run_id"] for item in found} == {past["id"]}
    assert all(item["issued_at"] <= "2020-03-16" for item in found)
    assert listed(world, "known", source="replay")["items"] == []


def test_predictions__come_in_pages_of_one_moment(world: World) -> None:
    front.predict(world.client, start_date="2020-01-20", end_date="2020-01-21")
    window = {"start_date": "2020-01-20", "end_date": "2020-01-21"}
    whole = listed(world, **window)["items"]
    page = listed(world, **window, limit=20)
    found = list(page["items"])
    front.predict(world.client, start_date="2020-01-20", end_date="2020-01-21")
    while page["next_cursor"]:
        page = listed(world, **window, limit=20, cursor=page["next_cursor"])
        found += page["items"]
    assert found == whole
    assert listed(world, **window)["items"] != whole


def test_predictions__come_whole_as_csv_and_parquet(world: World) -> None:
    front.predict(world.client, start_date="2020-01-25", end_date="2020-01-25")
    address = "/models/quick/predictions?start_date=2020-01-25&end_date=2020-01-25"
    plain = world.client.get(address).json["items"]  # type: ignore[index]
    csv = pd.read_csv(io.BytesIO(world.client.get(address, headers={"Accept": "text/csv"}).data))
    parquet = pd.read_parquet(io.BytesIO(world.client.get(address, headers={"Accept": "application/vnd.apache.parquet"}).data))
    assert (list(csv.columns), list(parquet.columns)) == (ROW, ROW)
    for frame in (csv, parquet):
        assert frame["prediction"].tolist() == pytest.approx([item["prediction"] for item in plain], abs=1e-9)
        assert pd.to_datetime(frame["timestamp"]).tolist() == [pd.Timestamp(item["timestamp"]) for item in plain]


@pytest.mark.parametrize("accept", ["application/json", "text/csv", "application/vnd.apache.parquet"])
def test_predictions__of_a_model_that_has_made_none_are_none(world: World, accept: str) -> None:
    answer = world.client.get("/models/lonely/predictions", headers={"Accept": accept})
    assert (answer.status_code, answer.mimetype) == (200, accept)
    if accept == "text/csv":
        assert answer.text == ",".join(f'"{name}"' for name in ROW) + "\n"


def test_predictions__what_cannot_be_asked_is_refused(world: World) -> None:
    front.errors_of(world.client.get("/models/nothing/predictions"), 404)
    for query, field in (
        ("source=made_up", "source"),
        ("limit=10001", "limit"),
        ("limit=0", "limit"),
        ("cursor=nonsense", "cursor"),
        ("start_date=2020-02-30", "start_date"),
        ("start_date=2020-03-02&end_date=2020-03-01", "end_date"),
        ("data_at=9999-12-31", "data_at"),
        ("unknown=1", "unknown"),
    ):
        assert list(front.errors_of(world.client.get(f"/models/quick/predictions?{query}"))) == [field], query


def test_predictions__a_damaged_file_is_told_not_read(world: World) -> None:
    front.predict(world.client, start_date="2020-01-28", end_date="2020-01-28")
    with world.system.engine.connect() as connection:
        uri = connection.exec_driver_sql("SELECT uri FROM predictions ORDER BY id DESC LIMIT 1").scalar_one()
    file = Path(uri.removeprefix("file://"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-100] + b"x" * 100)
    answer = world.client.get("/models/quick/predictions?start_date=2020-01-28&end_date=2020-01-28")
    assert answer.status_code == 409
    assert "damaged" in answer.json["detail"]  # type: ignore[index]
    file.write_bytes(whole)
