"""The gate and the data checks through the front: what is stored and shown, what stays in production, and what a person can do about it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import front
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from front import World

TRAINED = {"end_date": "2020-04-30"}
LATER = {"end_date": "2020-06-05"}
AFTER = {"end_date": "2020-07-05"}
POOR = {"num_iterations": 1, "learning_rate": 0.01, "seeds": 1}


@pytest.fixture
def world(embedded_server: Any, tmp_path: Path) -> Iterator[World]:
    """A model of hourly data of half a year."""
    url = embedded_server.clone()
    with front.started(tmp_path / "world", url, {"quick": front.definition()}) as found:
        front.hourly(200).to_parquet(found.data / "hourly.parquet")
        yield found
    embedded_server.drop(url)


def rewrite(world: World, change: Callable[[pd.DataFrame], pd.DataFrame], name: str = "changed.parquet") -> str:
    change(front.hourly(200)).to_parquet(world.data / name)
    return name


def checks(run: Any) -> dict[str, Any]:
    found = run["result"]
    return {check["name"]: check for check in (found["validation"]["checks"] if "validation" in found else found["checks"])}


def production(world: World) -> str:
    answer = world.client.get("/models/quick/production").json
    assert answer is not None
    version: str = answer["model_version_id"]
    return version


def told(world: World, kind: str) -> list[dict[str, Any]]:
    with world.system.engine.connect() as connection:
        return list(connection.scalars(sa.text("SELECT data FROM events WHERE type = :type ORDER BY id"), {"type": kind}))


def test_gate__a_rejected_model_leaves_its_report_an_event_and_the_champion(world: World) -> None:
    champion = front.train(world.client, **TRAINED)["result"]
    assert (champion["validation"]["decision"], champion["promoted"]) == ("accepted", True)
    run = front.train(world.client, params=POOR, **LATER)
    validation, version = run["result"]["validation"], run["result"]["model_version_id"]
    assert (run["status"], validation["decision"], run["result"]["promoted"]) == ("succeeded", "rejected", False)
    assert production(world) == champion["model_version_id"]
    stored = world.client.get(f"/models/quick/versions/{version}").json
    assert stored is not None
    assert (stored["status"], stored["validation"]) == ("rejected", validation)
    (event,) = told(world, "model.rejected")
    assert (event["model_version_id"], event["validation"]) == (version, validation)
    found = checks(run)
    held = {"start": "2020-05-09T00:00:00+00:00", "end": "2020-06-06T00:00:00+00:00", "days": 28, "rows": 672}
    for name in ("scored_days", "coverage", "better_than_naive", "not_worse_than_champion", "not_worse_than_best", "bias"):
        assert found[name]["data"] == held
        assert found[name]["value"] is not None
        assert found[name]["threshold"] is not None
    assert not found["not_worse_than_champion"]["passed"]
    assert found["completeness"]["data"]["rows"] == run["result"]["data"]["rows"]


def test_gate__a_person_promotes_a_rejected_model_with_a_reason(world: World) -> None:
    front.train(world.client, **TRAINED)
    version = front.train(world.client, params=POOR, **LATER)["result"]["model_version_id"]
    body = {"model_name": "quick", "model_version_id": version, "reason": "the plant was rebuilt"}
    assert world.client.post("/model/promote", json=body).status_code == 200
    assert production(world) == version
    log = world.client.get("/models/quick/promotions").json
    assert log is not None
    assert (log["items"][0]["action"], log["items"][0]["reason"]) == ("promote", "the plant was rebuilt")


@pytest.mark.parametrize(
    ("change", "which", "value"),
    [
        (lambda f: f.assign(power=f["power"] * 1.05), "revised_level", 0.05),
        (lambda f: f.assign(power=f["power"].shift(1, fill_value=10.0)), "revised_clock", 60),
        (lambda f: f.assign(wind=np.random.default_rng(1).permutation(f["wind"])), "revised_exogenous.wind", 1.265),
        (lambda f: f.assign(power=f["power"].where(f["time"] < "2020-05-09", f["power"] * 1.15)), "level_month", 0.1315),
        (lambda f: f.assign(power=f["power"].where(f["time"] < "2020-05-20", 7.0)), "frozen_target_holdout", 17 / 28),
        (lambda f: f.assign(wind=f["wind"].where(f["time"] < "2020-05-20", 0.0)), "frozen_exogenous_holdout", 17 / 28),
    ],
    ids=["scaled", "an hour late", "mixed up", "louder of late", "frozen target", "frozen weather"],
)
def test_gate__faulty_data_cannot_be_judged_and_keeps_the_champion(
    change: Callable[[pd.DataFrame], pd.DataFrame], which: str, value: float, world: World
) -> None:
    champion = front.train(world.client, **TRAINED)["result"]["model_version_id"]
    run = front.train(world.client, file_path=rewrite(world, change), **LATER)
    assert (run["status"], run["result"]["validation"]["decision"]) == ("succeeded", "cannot_judge")
    assert production(world) == champion
    check = checks(run)[which]
    assert (check["passed"], check["ground"]) == (False, True)
    assert abs(check["value"]) > check["threshold"]
    assert check["value"] == pytest.approx(value, abs=0.02 * abs(value))
    (event,) = told(world, "model.not_judged")
    assert event["validation"] == run["result"]["validation"]
    good = front.train(world.client, **LATER)
    assert good["result"]["validation"]["decision"] == "accepted"  # what could not be judged is no measure of later data


def test_gate__labels_that_a_person_has_accepted_are_the_new_measure(world: World) -> None:
    front.train(world.client, **TRAINED)
    louder = rewrite(world, lambda f: f.assign(power=f["power"] * 1.15))
    run = front.train(world.client, file_path=louder, **LATER)
    assert run["result"]["validation"]["decision"] == "cannot_judge"
    version = run["result"]["model_version_id"]
    world.client.post("/model/promote", json={"model_name": "quick", "model_version_id": version, "reason": "the meter was wrong before"})
    again = front.train(world.client, file_path=louder, **AFTER)
    assert again["result"]["known"][0]["model_version_id"] == version
    assert checks(again)["revised_level"]["value"] == 0
    assert again["result"]["validation"]["decision"] == "accepted"


def test_gate__the_last_champions_are_the_second_bar_and_a_replay_meets_the_same(world: World) -> None:
    versions = [front.train(world.client, **one)["result"]["model_version_id"] for one in (TRAINED, LATER)]
    run = front.train(world.client, **AFTER)
    assert [one["model_version_id"] for one in run["result"]["champions"]] == versions[::-1]
    assert [one["model_version_id"] for one in run["result"]["known"]] == versions[:0:-1]
    assert "best of 2" in checks(run)["not_worse_than_best"]["detail"]
    replayed = front.ended(world.client.post(f"/runs/{run['id']}/replay", headers=front.WAIT))
    assert (replayed["result"]["verdict"], replayed["result"]["why"]) == ("identical", [])


def test_schema__a_new_column_is_left_out_and_a_missing_one_is_an_error(world: World) -> None:
    front.train(world.client, **TRAINED)
    wider = rewrite(world, lambda f: f.assign(humidity=np.arange(len(f)) % 7.0)[["humidity", "wind", "power", "time"]], "wider.parquet")
    run = front.train(world.client, file_path=wider, **LATER)
    check = checks(run)["schema"]
    assert (check["passed"], check["blocking"], check["value"]) == (False, False, 1)
    assert "humidity" in check["detail"]
    assert run["result"]["validation"]["decision"] == "accepted"
    assert "humidity" in checks(front.predict(world.client, file_path=wider))["schema"]["detail"]
    narrower = rewrite(world, lambda f: f.drop(columns="wind"), "narrower.parquet")
    for run in (front.train(world.client, file_path=narrower, **AFTER), front.predict(world.client, file_path=narrower)):
        assert run["status"] == "failed"
        assert "'wind'" in run["error"]["message"]


PREDICTED = {"start_date": "2020-05-01", "end_date": "2020-05-03"}


@pytest.mark.parametrize(
    ("change", "days"),
    [
        (lambda f: f[(f["time"] < "2020-05-02") | (f["time"] >= "2020-05-03")], {2}),
        (lambda f: f[(f["time"] < "2020-05-03")], {3}),
        (lambda f: f.assign(wind=f["wind"].where((f["time"] < "2020-05-02") | (f["time"] >= "2020-05-03"))), {2}),
        (lambda f: f.assign(power=np.nan), {1, 2, 3}),
        (lambda f: f.assign(power=f["power"].where(f["time"] < "2020-03-01")), {1, 2, 3}),
        (lambda f: f[f["time"] < "2020-05-01"], {1, 2, 3}),
    ],
    ids=["day absent", "last day absent", "weather absent", "target never there", "target history absent", "window absent"],
)
def test_predict__a_day_with_too_little_data_is_forecast_all_the_same_and_marked(
    change: Callable[[pd.DataFrame], pd.DataFrame], days: set[int], world: World
) -> None:
    front.train(world.client, **TRAINED)
    run = front.predict(world.client, file_path=rewrite(world, change), **PREDICTED)
    assert run["status"] == "succeeded", run["error"]
    rows = world.client.get("/models/quick/predictions", query_string=PREDICTED).json
    assert rows is not None
    found = pd.DataFrame(rows["items"])
    assert len(found) == 72
    assert np.isfinite(found["prediction"].astype(float)).all()
    marked = found[found["quality"] == "substituted"]["timestamp"].str[8:10].astype(int)
    assert set(marked) == days
    check = checks(run)["substituted"]
    assert (check["value"], check["passed"]) == (len(marked), False)


def test_predict__without_any_row_around_says_so(world: World) -> None:
    front.train(world.client, **TRAINED)
    run = front.predict(world.client, start_date="2025-01-01", end_date="2025-01-02")
    assert run["status"] == "failed"
    assert "nothing can be forecast" in run["error"]["message"]
