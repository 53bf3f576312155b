"""Backfill through the front: what would have been issued then, only what is missing, whatever happens in between."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import front
import pandas as pd
import pytest
from flask.testing import FlaskClient

from mlsys.system import System

DAY = timedelta(days=1)
RANGE = {"start_date": "2020-03-10", "end_date": "2020-03-15", "step": "P1D"}
SOURCE = {"type": "parquet", "path": "known.parquet"}
MODELS = {
    "quick": front.definition(),
    "known": front.definition(source=SOURCE, created_at="known_at", exogenous=[]),
    "set": front.definition(source={"type": "dataset", "name": "plant"}),
}


@dataclass
class SetClock:
    at: datetime

    def now(self) -> datetime:
        self.at += timedelta(microseconds=1)
        return self.at


@dataclass(frozen=True, kw_only=True)
class Lived:
    """Two trainings, each promoted, on 1 and 13 March; live predictions of 11 and 14 March; now it is 20 March."""

    system: System
    client: FlaskClient
    clock: SetClock
    versions: list[str]
    live: dict[int, list[Any]]


def write(folder: Path, until: datetime | None = None) -> None:
    """Rows of which each became known an hour later, and one in seven was corrected two days after; ``until``: what had arrived by then."""
    rows = front.hourly()
    rows = rows.assign(known_at=rows["time"] + pd.Timedelta("1h"))
    corrected = rows.iloc[::7].assign(power=lambda frame: frame["power"] + 1, known_at=lambda frame: frame["known_at"] + pd.Timedelta("2D"))
    whole = pd.concat([rows, corrected])
    (whole if until is None else whole[whole["known_at"] <= until]).to_parquet(folder / "known.parquet", index=False)


@pytest.fixture(scope="module")
def lived(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    folder, url = tmp_path_factory.mktemp("backfill"), embedded_server.clone()
    (folder / "data").mkdir()
    front.hourly().to_parquet(folder / "data" / "hourly.parquet")
    clock = SetClock(datetime(2020, 3, 1, tzinfo=UTC))
    system = front.unstarted(folder, MODELS, clock=clock, **{"database.url": url, "data.roots": [str(folder / "data")]})
    system.start()
    try:
        yield live(system, folder / "data", clock)
    finally:
        system.stop()
        embedded_server.drop(url)


def live(system: System, folder: Path, clock: SetClock) -> Lived:
    client = front.app_of(system).test_client()
    versions, issued = [], {}
    for day in (1, 11, 13, 14):
        clock.at = datetime(2020, 3, day, tzinfo=UTC)
        write(folder, clock.at)
        window = {"start_date": f"2020-03-{day}", "end_date": f"2020-03-{day}"}
        if day in (1, 13):
            run = front.train(client, model_name="known", end_date=f"2020-02-{27 + day // 13}", promote="never")
            versions.append(run["result"]["model_version_id"])
            client.post("/model/promote", json={"model_name": "known", "model_version_id": versions[-1]})
        else:
            front.predict(client, model_name="known", **window)
            issued[day] = rows(client, source="live", **window)
    write(folder)
    clock.at = datetime(2020, 3, 20, tzinfo=UTC)
    return Lived(system=system, client=client, clock=clock, versions=versions, live=issued)


def rows(client: FlaskClient, **query: Any) -> list[Any]:
    answer = client.get("/models/known/predictions", query_string={"source": "backfill"} | query)
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json["items"]  # type: ignore[index]
    return found


def backfill(lived: Lived, **changes: Any) -> Any:
    return front.ended(lived.client.post("/models/known/backfill", json=RANGE | changes, headers=front.WAIT))


def value(row: Any) -> tuple[Any, ...]:
    return row["timestamp"], row["prediction"], row["quality"]


def test_backfill__says_what_was_said_when_the_days_were_lived(lived: Lived) -> None:
    plan = backfill(lived, dry_run=True)
    assert (plan["missing"], plan["present"], plan["no_model"]) == (6, 0, 0)
    assert [step["start"] for step in plan["steps"]] == [f"2020-03-{day}T00:00:00Z" for day in range(10, 16)]
    assert lived.client.get("/runs?kind=backfill").json["items"] == []  # type: ignore[index]
    run = backfill(lived)
    assert (run["kind"], run["status"]) == ("backfill", "succeeded")
    assert run["result"] == {"steps": {"total": 6, "made": 6, "present": 0, "skipped": 0}, "rows": 144, "skipped": []}
    assert (run["progress"]["done"], run["progress"]["total"]) == (6, 6)
    found = rows(lived.client)
    assert len(found) == 144
    for day, issued in lived.live.items():
        assert [value(row) for row in issued] == [value(row) for row in found if row["timestamp"].startswith(f"2020-03-{day}")]
        assert len(issued) == 24
    first, second = lived.versions  # the second came into production after the 13th had begun
    assert [row["model_version_id"] for row in found[::24]] == [first] * 4 + [second] * 2
    assert {row["issued_at"] for row in found[:24]} == {"2020-03-10T00:00:00Z"}
    assert {row["run_id"] for row in found} == {run["id"]}
    assert len(rows(lived.client, source="live")) == 48


def test_backfill__again_does_only_what_is_missing(lived: Lived) -> None:
    backfill(lived)
    again = backfill(lived)
    assert again["result"]["steps"] == {"total": 6, "made": 0, "present": 6, "skipped": 0}
    longer = backfill(lived, end_date="2020-03-17")
    assert longer["result"]["steps"] == {"total": 8, "made": 2, "present": 6, "skipped": 0}
    plan = backfill(lived, end_date="2020-03-18", dry_run=True)
    assert [step["state"] for step in plan["steps"]] == ["present"] * 8 + ["missing"]
    retried = front.ended(lived.client.post(f"/runs/{longer['id']}/retry", json={}, headers=front.WAIT))
    assert retried["result"]["steps"]["present"] == 8


@pytest.mark.parametrize("limit", [7, 24, 30, 100])
def test_predictions__of_many_files_come_in_pages(lived: Lived, limit: int) -> None:
    backfill(lived)
    backfill(lived, start_date="2020-03-10T12:00:00Z", end_date="2020-03-13T12:00:00Z")  # issued later: half of each day again
    whole = rows(lived.client, limit=10_000)
    assert [row["timestamp"] for row in whole] == sorted({row["timestamp"] for row in whole})
    found, cursor = [], {}
    while True:
        page = lived.client.get("/models/known/predictions", query_string={"source": "backfill", "limit": limit} | cursor).json
        found += page["items"]  # type: ignore[index]
        if not page["next_cursor"]:  # type: ignore[index]
            break
        cursor = {"cursor": page["next_cursor"]}  # type: ignore[index]
    assert found == whole


def test_backfill__steps_without_a_model_are_told_and_stop_nothing(lived: Lived) -> None:
    run = backfill(lived, start_date="2020-02-28", end_date="2020-03-03")
    assert run["status"] == "succeeded"
    assert run["result"]["steps"] == {"total": 5, "made": 2, "present": 0, "skipped": 3}
    skipped = run["result"]["skipped"]
    assert [(step["start"], step["kind"]) for step in skipped] == [
        (f"2020-{day}T00:00:00Z", "no_model") for day in ("02-28", "02-29", "03-01")
    ]
    none = backfill(lived, start_date="2020-01-10", end_date="2020-01-12")
    assert (none["status"], none["error"]["kind"], none["result"]) == ("failed", "nothing_made", None)
    assert "None of the 3 steps" in none["error"]["message"]
    assert "first came into production at 2020-03-01T" in none["error"]["message"]
    assert "/models/known/backtest" in none["error"]["message"]


def test_backfill__steps_need_not_be_days(lived: Lived) -> None:
    run = backfill(lived, start_date="2020-03-04T06:00:00Z", end_date="2020-03-04T20:00:00Z", step="PT6H")
    assert run["result"]["steps"]["made"] == 3
    found = rows(lived.client, start_date="2020-03-04", end_date="2020-03-04")
    assert [row["timestamp"][11:13] for row in found] == [f"{hour:02}" for hour in range(6, 20)]
    assert all(row["issued_at"] <= row["timestamp"] for row in found)


def test_backfill__continues_where_a_crash_left_it(lived: Lived) -> None:
    """The process dies after some steps: the next attempt of the same run does the others."""
    system = lived.system
    window = {"start_date": "2020-03-05", "end_date": "2020-03-08"}
    backfill(lived, start_date="2020-03-05", end_date="2020-03-06")
    with system.services.units() as unit:  # claimed by a process that is gone
        spec = {**unit.runs.list(filters={"kind": "backfill"}, limit=1, cursor=None).items[0].spec, "end_date": "2020-03-09T00:00:00Z"}
        id = unit.runs.add(kind="backfill", model_name="known", trigger={"type": "api"}, spec=spec)
        unit.runs.claim(owner=123_456_789, among=[id])
        unit.commit()
    lived.clock.at += timedelta(minutes=1)
    system.recovery.sweep()
    run = system.services.waiter.wait(id, seconds=30)
    assert (run.status, run.attempt) == ("succeeded", 2)
    assert run.result is not None
    assert run.result["steps"] == {"total": 4, "made": 2, "present": 2, "skipped": 0}
    found = rows(lived.client, **window)
    assert len({row["timestamp"] for row in found}) == len(found) == 96


def test_backfill__of_a_data_set_is_what_time_travel_says_of_each_step(lived: Lived) -> None:
    client = lived.client
    client.post("/datasets", json={"name": "plant", "timestamp": "time"})
    forecast = front.hourly().assign(created_at=lambda frame: frame["time"] - pd.Timedelta("2D"), power=float("nan"))
    measured = front.hourly().assign(created_at=lambda frame: frame["time"] + pd.Timedelta("1h"))
    for frame in (forecast, measured):
        sent = client.post("/datasets/plant/rows", data=frame.to_csv(index=False), content_type="text/csv")
        assert sent.status_code == 201, sent.text
    lived.clock.at = datetime(2020, 3, 1, tzinfo=UTC)
    version = front.train(client, model_name="set", end_date="2020-02-28", promote="never")["result"]["model_version_id"]
    client.post("/model/promote", json={"model_name": "set", "model_version_id": version})
    lived.clock.at = datetime(2020, 3, 20, tzinfo=UTC)
    run = front.ended(client.post("/models/set/backfill", json=RANGE, headers=front.WAIT))
    assert run["result"]["steps"] == {"total": 6, "made": 6, "present": 0, "skipped": 0}
    address = "/models/set/predictions?source=backfill&start_date=2020-03-12&end_date=2020-03-12"
    made = client.get(address).json["items"]  # type: ignore[index]
    front.predict(
        client, model_name="set", start_date="2020-03-12", end_date="2020-03-12", time_travel=True, time_travel_date="2020-03-12T00:00:00Z"
    )
    again = client.get(address).json["items"]  # type: ignore[index]
    assert [value(row) for row in again] == [value(row) for row in made]
    assert {row["run_id"] for row in again} != {run["id"]}
    assert len(made) == 24


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"step": "1 day"}, "step"),
        ({"step": "PT0S"}, "step"),
        ({"step": "-P1D"}, "step"),
        ({"step": "PT1S"}, "step"),
        ({"step": "PT59M"}, "step"),
        ({"step": 5}, "step"),
        ({"end_date": "2020-03-09"}, "end_date"),
        ({"end_date": "2020-03-25"}, "end_date"),
        ({"start_date": "2020-02-30"}, "start_date"),
        ({"other": 1}, "other"),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_backfill__what_makes_no_sense_is_refused_and_starts_nothing(
    lived: Lived, changes: dict[str, Any], field: str, dry_run: bool
) -> None:
    before = lived.client.get("/runs?kind=backfill").json
    answer = lived.client.post("/models/known/backfill", json=RANGE | changes | {"dry_run": dry_run})
    assert list(front.errors_of(answer)) == [field]
    assert lived.client.get("/runs?kind=backfill").json == before


def test_backfill__needs_a_model_and_a_source_that_tells_when_its_rows_became_known(lived: Lived) -> None:
    front.errors_of(lived.client.post("/models/nothing/backfill", json=RANGE), 404)
    refused = front.errors_of(lived.client.post("/models/quick/backfill", json=RANGE))
    assert "created_at" in refused["model_name"][0]
