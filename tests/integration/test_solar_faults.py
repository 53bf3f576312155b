"""The first users' file with the shipped configuration, over HTTP: every fault that is known to be in it is found without being told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import front
import pandas as pd
import pytest
import yaml
from front import World

SHIPPED = Path(__file__).parents[2] / "config.yaml"
FAST = {"num_iterations": 25, "seeds": 1}
WHOLE = {"model_name": "forecast_model", "start_date": "2016-12-31", "end_date": "2018-07-15", "params": FAST}


@pytest.fixture(scope="module")
def world(embedded_server: Any, solar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = embedded_server.clone()
    shipped = yaml.safe_load(SHIPPED.read_text())["models"]
    with front.started(tmp_path_factory.mktemp("solar"), url, shipped) as found:
        (found.data / solar.name).write_bytes(solar.read_bytes())
        yield found
    embedded_server.drop(url)


@pytest.fixture(scope="module")
def trained(world: World) -> Any:
    return front.train(world.client, **WHOLE)


@pytest.fixture(scope="module")
def checks(trained: Any) -> dict[str, Any]:
    assert trained["status"] == "succeeded", trained["error"]
    return {check["name"]: check for check in trained["result"]["validation"]["checks"]}


def test_solar__days_that_are_absent_and_the_oddities_of_the_clock_are_gaps(checks: dict[str, Any]) -> None:
    check = checks["gaps"]
    assert (check["value"], check["passed"], check["blocking"]) == (37, False, False)
    assert "35 of P1D, 1 of PT23H, 1 of PT2H" in check["detail"]
    assert checks["completeness"]["passed"]


def test_solar__a_dead_weather_feed_is_missing_weather(checks: dict[str, Any]) -> None:
    check = checks["frozen_exogenous"]
    assert (check["passed"], check["blocking"]) == (False, False)
    assert check["value"] == pytest.approx(0.038, abs=0.001)  # 22 whole days; ten clear or covered ones more would be 0.0675
    assert "taken as missing" in check["detail"]
    assert checks["frozen_exogenous_holdout"]["passed"]


def test_solar__the_isolated_maximum_is_named(checks: dict[str, Any]) -> None:
    assert checks["extremes"]["value"] == 1
    assert "42 at 2017-05-05 11:45 UTC" in checks["extremes"]["detail"]


def test_solar__power_at_night_is_left_out(checks: dict[str, Any], trained: Any) -> None:
    check = checks["impossible_target"]
    assert (check["value"], check["passed"]) == (17, False)  # 12 on two nights and 5 at the edge of dusk; less is a trace
    assert "the largest 3.264 at 2017-03-02 17:30 UTC" in check["detail"]
    assert checks["impossible_target_share"]["passed"]


def test_solar__a_meter_that_stands_still_each_night_is_no_fault(checks: dict[str, Any]) -> None:
    assert checks["frozen_target"]["passed"]
    assert checks["duplicates"]["passed"]
    assert checks["level_month"]["passed"]
    assert checks["level_year"]["passed"]
    assert checks["level_year"]["value"] is not None


def test_solar__it_is_judged_and_promoted_for_all_that(trained: Any) -> None:
    assert (trained["result"]["validation"]["decision"], trained["result"]["promoted"]) == ("accepted", True)


def test_solar__time_travel_without_created_at_is_refused_with_the_remedy(world: World) -> None:
    found = front.errors_of(world.client.post("/job/train", json=WHOLE | {"time_travel": True, "time_travel_date": "2018-01-01"}))
    assert "created_at" in str(found)


def test_solar__an_absent_day_and_a_dead_feed_are_forecast_as_substituted(world: World, trained: Any) -> None:
    window = {"model_name": "forecast_model", "start_date": "2017-10-12", "end_date": "2017-10-28"}
    run = front.predict(world.client, **window)
    assert run["status"] == "succeeded", run["error"]
    query = {name: window[name] for name in ("start_date", "end_date")} | {"limit": 10_000}
    answer = world.client.get("/models/forecast_model/predictions", query_string=query).json
    assert answer is not None
    rows = pd.DataFrame(answer["items"])
    assert len(rows) == 17 * 96
    marked = rows["timestamp"][rows["quality"] == "substituted"].str[:10].unique()
    assert {"2017-10-15", "2017-10-20"} <= set(marked)  # without any row; with weather written as zeros
    found = {check["name"]: check for check in run["result"]["checks"]}
    assert not found["substituted"]["passed"]
    assert not found["gaps"]["passed"]
    assert not found["frozen_exogenous"]["passed"]
