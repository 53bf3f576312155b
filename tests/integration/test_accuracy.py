"""Accuracy through the front: issued forecasts against what became of them, each figure with the rows behind it."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import front
import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient

PARQUET = {"Accept": "application/vnd.apache.parquet"}
MODELS = {
    "quick": front.definition(),
    "set": front.definition(source={"type": "dataset", "name": "plant"}, exogenous=[]),
    "sites": front.definition(source={"type": "parquet", "path": "sites.parquet"}, series_key=["site"]),
    "banded": front.definition(model={"type": "lightgbm", "params": front.QUICK, "quantiles": [0.1, 0.9]}),
    "lonely": front.definition(),
    "moved": front.definition(source={"type": "parquet", "path": "nowhere.parquet"}),
    "ahead": front.definition(source={"type": "parquet", "path": "ahead.parquet"}),
}


@dataclass
class SetClock:
    at: datetime

    def now(self) -> datetime:
        self.at += timedelta(microseconds=1)
        return self.at


@dataclass(frozen=True, kw_only=True)
class Place:
    client: FlaskClient
    clock: SetClock
    data: Path


@pytest.fixture(scope="module")
def place(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """It is 16 March 2020; the data reaches to the 20th."""
    folder, url = tmp_path_factory.mktemp("accuracy"), embedded_server.clone()
    data, rows = folder / "data", front.hourly()
    data.mkdir()
    rows.to_parquet(data / "hourly.parquet")
    sites = [rows.assign(site=site, power=rows["power"] + 20 * number) for number, site in enumerate(("north", "south"))]
    pd.concat(sites).to_parquet(data / "sites.parquet")
    rows.assign(power=rows["power"].where(rows["time"] < "2020-03-16")).to_parquet(data / "ahead.parquet")
    clock = SetClock(datetime(2020, 3, 16, tzinfo=UTC))
    system = front.unstarted(folder, MODELS, clock=clock, **{"database.url": url, "data.roots": [str(data)]})
    system.start()
    try:
        yield Place(client=front.app_of(system).test_client(), clock=clock, data=data)
    finally:
        system.stop()
        embedded_server.drop(url)


def promoted(place: Place, name: str = "quick", **changes: Any) -> str:
    version: str = front.train(place.client, model_name=name, promote="never", **changes)["result"]["model_version_id"]
    place.client.post("/model/promote", json={"model_name": name, "model_version_id": version})
    return version


def issue(place: Place, start: str, end: str, name: str = "quick", **changes: Any) -> str:
    run = front.predict(place.client, model_name=name, start_date=start, end_date=end, **changes)
    assert run["status"] == "succeeded", run["error"]
    return str(run["id"])


def accuracy(place: Place, name: str = "quick", **query: Any) -> Any:
    answer = place.client.get(f"/models/{name}/accuracy", query_string=query)
    assert answer.status_code == 200, answer.text
    return answer.json


def rows_of(place: Place, url: str) -> pd.DataFrame:
    answer = place.client.get(url, headers=PARQUET)
    assert answer.status_code == 200, answer.text
    return pd.read_parquet(io.BytesIO(answer.data))


@pytest.fixture(scope="module")
def issued(place: Place) -> dict[str, str]:
    """Two versions; each day forecast at its midnight, the 18th two days ahead as well."""
    first = promoted(place)
    ahead = issue(place, "2020-03-18", "2020-03-18")
    runs = {"ahead": ahead, "16": issue(place, "2020-03-16", "2020-03-16")}
    place.clock.at = datetime(2020, 3, 17, tzinfo=UTC)
    second = promoted(place, end_date="2020-03-10")
    for day in ("17", "18"):
        place.clock.at = datetime(2020, 3, int(day), tzinfo=UTC)
        runs[day] = issue(place, f"2020-03-{day}", f"2020-03-{day}")
    return runs | {"first": first, "second": second}


def test_accuracy__of_each_day_is_that_of_the_rows_behind_it(place: Place, issued: dict[str, str]) -> None:
    found = accuracy(place)
    assert [(one["day"], one["rows"], one["run_ids"]) for one in found["by_day"]] == [
        (f"2020-03-{day}", 24, [issued[day]]) for day in ("16", "17", "18")
    ]
    assert [one["model_version_ids"] for one in found["by_day"]] == [[issued["first"]], [issued["second"]], [issued["second"]]]
    power = front.hourly().set_index("time")["power"]
    for one in found["by_day"]:
        rows = rows_of(place, one["rows_url"])
        error = rows["prediction"] - rows["actual"]
        naive = (rows["seasonal_naive"] - rows["actual"]).abs().mean()
        assert set(rows["run_id"]) == set(one["run_ids"])
        assert (one["mae"], one["rmse"], one["bias"]) == pytest.approx((error.abs().mean(), np.sqrt((error**2).mean()), error.mean()))
        assert one["skill"] == pytest.approx(1 - one["mae"] / naive)
        times = pd.DatetimeIndex(rows["timestamp"])
        assert rows["actual"].tolist() == power.reindex(times).tolist()
        assert rows["seasonal_naive"].tolist() == power.reindex(times - pd.Timedelta("1D")).tolist()
    assert (found["rows"], found["scored_rows"], found["reason"], found["degraded"]) == (72, 72, None, None)
    assert found["overall"]["mae"] == pytest.approx(np.mean([one["mae"] for one in found["by_day"]]))
    assert found["overall"]["runs"] == 3


def test_accuracy__by_lead_time_counts_every_issue(place: Place, issued: dict[str, str]) -> None:
    found = accuracy(place, by="lead_time")
    assert found["by_day"] == []
    leads = {one["lead_time"]: one for one in found["by_lead_time"]}
    assert sum(one["rows"] for one in found["by_lead_time"]) == 4 * 24
    assert leads["PT0S"]["rows"] == 3 * (2 if leads["PT0S"]["lead_time_end"] == "PT2H" else leads["PT0S"]["rows"] // 3)
    far = [one for one in found["by_lead_time"] if one["run_ids"] == [issued["ahead"]]]
    assert sum(one["rows"] for one in far) == 24
    assert far[0]["lead_time"] in ("P2D", "P1DT21H")
    for one in (leads["PT0S"], far[-1]):
        rows = rows_of(place, one["rows_url"])
        assert len(rows) == one["rows"]
        assert (rows["prediction"] - rows["actual"]).abs().mean() == pytest.approx(one["mae"])
    # two days ahead the last day that was known is the 15th
    ahead = rows_of(place, far[-1]["rows_url"]).set_index("timestamp")
    power = front.hourly().set_index("time")["power"]
    assert ahead["seasonal_naive"].tolist() == power.reindex(ahead.index - pd.Timedelta("3D")).tolist()


def test_accuracy__of_one_version_and_of_a_window(place: Place, issued: dict[str, str]) -> None:
    one = accuracy(place, model_version_id=issued["first"])
    assert [(day["day"], day["run_ids"]) for day in one["by_day"]] == [("2020-03-16", [issued["16"]]), ("2020-03-18", [issued["ahead"]])]
    assert len(rows_of(place, one["by_day"][1]["rows_url"])) == 24
    window = accuracy(place, start_date="2020-03-17", end_date="2020-03-17")
    assert [day["day"] for day in window["by_day"]] == ["2020-03-17"]
    assert (window["start_date"], window["end_date"]) == ("2020-03-17T00:00:00Z", "2020-03-18T00:00:00Z")


def test_accuracy__as_stored_by_an_instant(place: Place, issued: dict[str, str]) -> None:
    then = accuracy(place, data_at="2020-03-17T12:00:00Z")
    assert [(day["day"], day["run_ids"]) for day in then["by_day"]] == [
        ("2020-03-16", [issued["16"]]),
        ("2020-03-17", [issued["17"]]),
        ("2020-03-18", [issued["ahead"]]),
    ]
    assert accuracy(place, data_at="2020-03-01")["reason"] == "No forecasts were issued for these timestamps."


def test_accuracy__follows_the_source(place: Place, issued: dict[str, str]) -> None:
    """What was kept of a file is not told once the file has changed."""
    before = accuracy(place)["overall"]["bias"]
    file = place.data / "hourly.parquet"
    content = file.read_bytes()
    changed = pd.read_parquet(file)
    changed.assign(power=changed["power"] + 10).to_parquet(file)
    try:
        assert accuracy(place)["overall"]["bias"] == pytest.approx(before - 10)
    finally:
        file.write_bytes(content)
    assert accuracy(place)["overall"]["bias"] == pytest.approx(before)


def test_accuracy__of_a_data_set_as_its_rows_arrive(place: Place) -> None:
    client = place.client
    client.post("/datasets", json={"name": "plant", "timestamp": "time"})
    rows = front.hourly()[["time", "power"]]

    def append(part: pd.DataFrame) -> None:
        sent = client.post("/datasets/plant/rows", data=part.to_csv(index=False), content_type="text/csv")
        assert sent.status_code == 201, sent.text

    append(rows[rows["time"] < "2020-03-16"])
    promoted(place, "set")
    issue(place, "2020-03-16", "2020-03-17", "set")
    found = accuracy(place, "set")
    assert (found["rows"], found["scored_rows"], found["overall"]) == (48, 0, None)
    assert "measured yet" in found["reason"]
    append(rows[(rows["time"] >= "2020-03-16") & (rows["time"] < "2020-03-17")])
    found = accuracy(place, "set")
    assert [(day["day"], day["rows"]) for day in found["by_day"]] == [("2020-03-16", 24)]
    right = found["by_day"][0]["mae"]
    append(rows[rows["time"].dt.strftime("%d") == "16"].assign(power=lambda part: part["power"] + 5))
    assert accuracy(place, "set")["by_day"][0]["mae"] != right


def test_accuracy__of_several_series(place: Place) -> None:
    promoted(place, "sites")
    issue(place, "2020-03-16", "2020-03-17", "sites")
    found = accuracy(place, "sites")
    assert [day["rows"] for day in found["by_day"]] == [48, 48]
    rows = rows_of(place, found["overall"]["rows_url"])
    south = rows[rows["site"] == "south"].set_index("timestamp")["actual"]
    assert south.tolist() == (front.hourly().set_index("time")["power"].reindex(south.index) + 20).tolist()


def test_accuracy__of_issued_quantiles(place: Place) -> None:
    promoted(place, "banded")
    issue(place, "2020-03-16", "2020-03-18", "banded")
    found = accuracy(place, "banded")
    for one in (found["overall"], *found["by_day"]):
        rows = rows_of(place, one["rows_url"])
        within = (rows["actual"] >= rows["quantile_P10"]) & (rows["actual"] <= rows["quantile_P90"])
        assert (one["coverage"], one["nominal_coverage"]) == (pytest.approx(within.mean()), 0.8)
        losses = []
        for quantile in one["quantiles"]:
            over = rows["actual"] - rows[quantile["name"]]
            losses.append(np.maximum(quantile["level"] * over, (quantile["level"] - 1) * over).mean())
            assert quantile["share_below"] == pytest.approx((over <= 0).mean())
        assert one["pinball"] == pytest.approx(np.mean(losses))


def test_accuracy__where_there_is_nothing_to_score_says_why(place: Place) -> None:
    found = accuracy(place, "lonely")
    assert (found["rows"], found["by_day"], found["overall"]) == (0, [], None)
    assert found["reason"] == "No forecasts were issued for these timestamps."
    assert len(rows_of(place, "/models/lonely/accuracy")) == 0
    promoted(place, "ahead")
    issue(place, "2020-03-16", "2020-03-17", "ahead")
    found = accuracy(place, "ahead")
    assert (found["rows"], found["scored_rows"], found["reason"] is None) == (48, 0, False)


def test_accuracy__by_the_file_of_the_request_where_the_model_has_none(place: Place) -> None:
    promoted(place, "moved", file_path="hourly.parquet")
    issue(place, "2020-03-16", "2020-03-16", "moved", file_path="hourly.parquet")
    assert accuracy(place, "moved")["scored_rows"] == 24
    file = place.data / "hourly.parquet"
    file.rename(place.data / "away.parquet")
    try:
        found = accuracy(place, "moved")
    finally:
        (place.data / "away.parquet").rename(file)
    assert found["scored_rows"] == 0
    assert "No such file" in found["reason"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"by": "month"}, "by"),
        ({"start_date": "2020-03-02", "end_date": "2020-03-01"}, "end_date"),
        ({"model_version_id": "nothing"}, "model_version_id"),
        ({"data_at": "soon"}, "data_at"),
        ({"lead_time": "PT1H"}, "lead_time"),
        ({"lead_time": "PT1H", "lead_time_end": "PT2H", "by": "lead_time"}, "lead_time"),
        ({"lead_time": "1 h", "lead_time_end": "PT2H", "by": "lead_time"}, "lead_time"),
        ({"other": "1"}, "other"),
    ],
)
def test_accuracy__what_cannot_be_asked_is_refused(place: Place, query: dict[str, str], field: str) -> None:
    assert list(front.errors_of(place.client.get("/models/quick/accuracy", query_string=query))) == [field]
    front.errors_of(place.client.get("/models/nothing/accuracy"), 404)
