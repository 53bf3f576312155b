"""The first users' data, lived through day by day, and later travelled back to: the past says again what it said, bit for bit."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import front
import pandas as pd
import pytest
from flask.testing import FlaskClient

from mlsys.system import System
from mlsys.testing import FrozenClock

START, END = "2017-01-01", "2017-07-10"
DATES = tuple(datetime(2017, month, day, tzinfo=UTC) for month, day in ((5, 20), (6, 10), (7, 1)))
WEEK = "2017-05-08", "2017-05-14"
CORRECTED = {"2017-05-25": 1.1, "2017-06-20": 0.9, "2017-07-05": 1.3}
"""When corrections of WEEK arrived, and what the power was multiplied with."""
MODEL = {
    "source": {"type": "dataset", "name": "plant"},
    "timestamp": "start_of_quarter",
    "target": "power",
    "exogenous": [],
    "features": {"solar": {"latitude": 51.5, "longitude": 4.0}},
    "model": {"type": "lightgbm", "params": {"num_iterations": 25, "seeds": 1}},
    "validation": {"min_skill_first": -1.0, "min_skill": -1.0, "max_ratio": 2.0},
}


@dataclass(frozen=True, kw_only=True)
class Lived:
    """Per date: the training, the prediction, its rows as listed and as written, and production, all as they were told on that day."""

    system: System
    client: FlaskClient
    told: Mapping[datetime, Mapping[str, Any]]


@pytest.fixture(scope="module")
def lived(embedded_server: Any, solar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    folder, url, clock = tmp_path_factory.mktemp("lived"), embedded_server.clone(), FrozenClock(DATES[0])
    system = front.unstarted(folder, {"solar": MODEL}, clock=clock, **{"database.url": url})
    system.start()
    try:
        client, history, told = front.app_of(system).test_client(), arrivals(solar), {}
        declare(client, "plant")
        for before, date in zip((datetime(2000, 1, 1, tzinfo=UTC), *DATES), DATES, strict=False):
            clock.instant = date
            append(client, "plant", history[(history["created_at"] > before) & (history["created_at"] <= date)])
            told[date] = live(client, date)
        clock.instant = datetime(2017, 8, 1, tzinfo=UTC)
        append(client, "plant", history[history["created_at"] > DATES[-1]])
        declare(client, "whole")
        append(client, "whole", history.sample(frac=1.0, random_state=0))
        yield Lived(system=system, client=client, told=told)
    finally:
        system.stop()
        embedded_server.drop(url)


def arrivals(solar: Path) -> pd.DataFrame:
    """Half a year: each row known a day later, and one week corrected again and again."""
    rows = pd.read_parquet(solar).loc[START:END].reset_index()
    rows["created_at"] = rows["start_of_quarter"] + pd.Timedelta("1D")
    week = rows[rows["start_of_quarter"].between(pd.Timestamp(WEEK[0], tz="UTC"), pd.Timestamp(WEEK[1], tz="UTC") + pd.Timedelta("1D"))]
    later = [week.assign(power=week["power"] * by, created_at=pd.Timestamp(day, tz="UTC")) for day, by in CORRECTED.items()]
    return pd.concat([rows, *later], ignore_index=True)


def declare(client: FlaskClient, name: str) -> None:
    assert client.post("/datasets", json={"name": name, "timestamp": "start_of_quarter"}).status_code == 201


def append(client: FlaskClient, name: str, rows: pd.DataFrame) -> None:
    answer = client.post(f"/datasets/{name}/rows", data=rows.to_parquet(index=False), content_type="application/vnd.apache.parquet")
    assert answer.status_code == 201, answer.text


def live(client: FlaskClient, date: datetime) -> dict[str, Any]:
    """A day's work: train on what is known, promote by the gate, predict the next day. Each run is replayed the same day."""
    trained = front.train(client, **training(date))
    predicted = front.predict(client, **predicting(date))
    return {
        "train": trained,
        "predict": predicted,
        "listed": listed(client, date, source="live"),
        "written": written(predicted),
        "production": client.get("/models/solar/production").json,
        "replays": [replayed(client, run) for run in (trained, predicted)],
    }


def training(date: datetime) -> dict[str, Any]:
    return {"model_name": "solar", "start_date": START, "end_date": (date - pd.Timedelta("2D")).date().isoformat()}


def predicting(date: datetime) -> dict[str, Any]:
    tomorrow = (date + pd.Timedelta("1D")).date().isoformat()
    return {"model_name": "solar", "start_date": tomorrow, "end_date": tomorrow}


def listed(client: FlaskClient, date: datetime, **query: Any) -> list[Any]:
    """The kept predictions of the day after a date."""
    asked = {name: value for name, value in predicting(date).items() if name != "model_name"}
    answer = client.get("/models/solar/predictions", query_string=asked | query)
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json["items"]  # type: ignore[index]
    return found


def written(run: Any) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(Path(run["result"]["output"]["uri"].removeprefix("file://")).read_bytes()))


def replayed(client: FlaskClient, run: Any) -> tuple[str, list[Any]]:
    found = front.ended(client.post(f"/runs/{run['id']}/replay", headers=front.WAIT))["result"]
    return found["verdict"], found["why"]


def travel(date: datetime) -> dict[str, Any]:
    return {"time_travel": True, "time_travel_date": date.isoformat()}


def said(rows: list[Any]) -> list[tuple[Any, ...]]:
    """What a listing says: all but who kept it and when. Live, the issue time follows the database's clock, which cannot be set back."""
    return [tuple(row[name] for name in ("timestamp", "prediction", "quality", "model_version_id")) for row in rows]


def test_lived__each_day_was_another(lived: Lived) -> None:
    """Else all that follows would prove little: three models, promoted by the gate, each from data the others had not seen."""
    days = list(lived.told.values())
    versions = [day["train"]["result"]["model_version_id"] for day in days]
    assert [day["train"]["result"]["promoted"] for day in days] == [True] * 3
    assert [day["predict"]["result"]["model_version_id"] for day in days] == versions
    assert len(set(versions)) == len({day["train"]["result"]["data"]["sha256"] for day in days}) == 3
    assert [len(day["listed"]) for day in days] == [96] * 3
    for day in days:
        assert [row["prediction"] for row in day["listed"]] == day["written"]["prediction"].tolist()
        assert max(day["written"]["prediction"]) > 1


@pytest.mark.parametrize("dataset", ["plant", "whole"])
@pytest.mark.parametrize("date", DATES)
def test_time_travel__predicts_bit_for_bit_what_was_said_then(lived: Lived, date: datetime, dataset: str) -> None:
    """``whole`` has got the same history in one import, long after."""
    told = lived.told[date]
    run = front.predict(lived.client, **predicting(date), **travel(date), dataset=dataset)
    assert said(listed(lived.client, date, source="backfill")) == said(told["listed"])
    assert {row["issued_at"] for row in listed(lived.client, date, source="backfill")} == {date.isoformat().replace("+00:00", "Z")}
    whens = ["issued_at", "created_at", "run_id"]
    pd.testing.assert_frame_equal(written(run).drop(columns=whens), told["written"].drop(columns=whens), check_exact=True)
    assert run["result"]["data"] == told["predict"]["result"]["data"]
    assert replayed(lived.client, run) == ("identical", [])


@pytest.mark.parametrize("dataset", ["plant", "whole"])
@pytest.mark.parametrize("date", DATES)
def test_time_travel__trains_from_the_rows_that_were_known_then(lived: Lived, date: datetime, dataset: str) -> None:
    told, run = lived.told[date]["train"], front.train(lived.client, **training(date), **travel(date), dataset=dataset)
    assert not run["result"]["promoted"]
    assert run["result"]["data"] == told["result"]["data"]
    assert artifact(lived, run) == artifact(lived, told)
    assert replayed(lived.client, run) == ("identical", [])


def test_time_travel__with_what_is_known_now_says_something_else(lived: Lived) -> None:
    for date, told in lived.told.items():
        run = front.predict(lived.client, **predicting(date), model_at=date.isoformat())
        assert run["result"]["model_version_id"] == told["predict"]["result"]["model_version_id"]
        assert run["result"]["data"] != told["predict"]["result"]["data"]
        assert written(run)["prediction"].tolist() != told["written"]["prediction"].tolist()


def artifact(lived: Lived, run: Any) -> str:
    with lived.system.services.units() as unit:
        return unit.versions.get(run["result"]["model_version_id"]).artifact.sha256


def test_predictions__as_stored_by_then_are_those_of_the_day(lived: Lived) -> None:
    for date, told in lived.told.items():
        assert listed(lived.client, date, source="live", data_at=date.isoformat()) == told["listed"]
        assert listed(lived.client, date, source="live") == told["listed"]
        assert listed(lived.client, date, source="live", data_at=(date - pd.Timedelta("1us")).isoformat()) == []


def test_production__as_of_a_date_is_the_version_then(lived: Lived) -> None:
    for date, told in lived.told.items():
        answer = lived.client.get("/models/solar/production", query_string={"as_of": date.isoformat()})
        assert answer.json == told["production"]
        assert answer.json["model_version_id"] == told["train"]["result"]["model_version_id"]


def test_replay__of_all_that_was_done_was_identical(lived: Lived) -> None:
    assert [replay for told in lived.told.values() for replay in told["replays"]] == [("identical", [])] * 6
