"""Backtests through the front: rolling origins, only what was known then, figures that agree with the rows behind them."""

import io
from collections.abc import Iterator
from typing import Any

import front
import numpy as np
import pandas as pd
import pytest
from front import World

SITES = {"source": {"type": "parquet", "path": "sites.parquet"}, "series_key": ["site"]}
DATED = {"source": {"type": "parquet", "path": "dated.parquet"}, "created_at": "known_at"}
MODELS = {
    "quick": front.definition(),
    "naive": front.definition(model={"type": "seasonal_naive"}),
    "alone": front.definition(exogenous=[]),
    "declared": front.definition(features={"exogenous": {"known": {"wind": "P1D"}}}),
    "banded": front.definition(model={"type": "lightgbm", "params": front.QUICK, "quantiles": [0.1, 0.5, 0.9]}),
    "sites": front.definition(**SITES),
    "dated": front.definition(**DATED),
    "doubtful": front.definition(
        source={"type": "parquet", "path": "doubtful.parquet"}, exogenous=[], checks={"impossible_target": {"low": 0}}
    ),
    "local": front.definition(timezone="Europe/Amsterdam"),
}
RANGE = {"start_date": "2020-03-01", "end_date": "2020-03-10"}


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = embedded_server.clone()
    with front.started(tmp_path_factory.mktemp("backtest"), url, MODELS) as found:
        rows = front.hourly()
        sites = [rows.assign(site=site, power=rows["power"] + 20 * number) for number, site in enumerate(("north", "south"))]
        pd.concat(sites).to_parquet(found.data / "sites.parquet")
        dated(rows).to_parquet(found.data / "dated.parquet")
        yield found
    embedded_server.drop(url)


def dated(rows: pd.DataFrame) -> pd.DataFrame:
    """The weather is known two days ahead, badly, and well an hour after; the power an hour after, and corrected (by +100) in five days."""
    ahead = rows.assign(known_at=rows["time"] - pd.Timedelta("2D"), power=np.nan, wind=rows["wind"] + 1)
    measured = rows.assign(known_at=rows["time"] + pd.Timedelta("1h"))
    corrected = rows.assign(known_at=rows["time"] + pd.Timedelta("5D"), power=rows["power"] + 100)
    return pd.concat([ahead, measured, corrected], ignore_index=True)


def backtest(world: World, name: str = "quick", **asked: Any) -> Any:
    run = front.ended(world.client.post(f"/models/{name}/backtest", json=RANGE | asked, headers=front.WAIT))
    assert (run["kind"], run["status"]) == ("backtest", "succeeded"), run["error"]
    return run


def kept(world: World, run: Any) -> pd.DataFrame:
    """All rows of a run."""
    address = f"/models/{run['model_name']}/predictions?run_id={run['id']}"
    answer = world.client.get(address, headers={"Accept": "application/vnd.apache.parquet"})
    assert answer.status_code == 200, answer.text
    return pd.read_parquet(io.BytesIO(answer.data))


def test_backtest__figures_are_those_of_the_rows_that_are_kept(world: World) -> None:
    run = backtest(world, refit=3)
    result, rows = run["result"], kept(world, run)
    climate = (rows["climatology"] - rows["actual"]).abs().mean()
    assert result["overall"]["baselines"]["climatology"]["mae"] == pytest.approx(climate)
    assert result["steps"] == {"total": 10, "forecast": 10, "skipped": 0}
    assert (result["fits"], result["rows"], len(rows), result["knowledge"]) == (4, 240, 240, "as_stored")
    error = rows["prediction"] - rows["actual"]
    overall = result["overall"]
    assert overall["mae"] == pytest.approx(error.abs().mean())
    assert overall["rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    assert overall["bias"] == pytest.approx(error.mean())
    naive = (rows["seasonal_naive"] - rows["actual"]).abs().mean()
    assert overall["baselines"]["seasonal_naive"]["mae"] == pytest.approx(naive)
    assert overall["skill"] == pytest.approx(1 - overall["mae"] / naive)
    assert overall["skill"] > 0
    leads = (rows["timestamp"] - rows["issued_at"]) // pd.Timedelta("1h")
    assert [one["lead_time"] for one in result["by_lead_time"]] == ["PT0S", *(f"PT{hour}H" for hour in range(1, 24))]
    for lead, one in enumerate(result["by_lead_time"]):
        assert (one["rows"], one["mae"]) == (10, pytest.approx(error[leads == lead].abs().mean()))
    assert [(one["month"], one["rows"]) for one in result["by_month"]] == [("2020-03", 240)]
    assert result["output"]["rows"] == 240
    assert pd.read_parquet(result["output"]["uri"].removeprefix("file://"))["prediction"].tolist() == rows["prediction"].tolist()


def test_backtest__actuals_and_naive_forecast_are_those_of_the_data(world: World) -> None:
    rows = kept(world, backtest(world)).set_index("timestamp")
    power = front.hourly().set_index("time")["power"]
    assert rows["actual"].tolist() == power.reindex(rows.index).tolist()
    assert rows["seasonal_naive"].tolist() == power.reindex(rows.index - pd.Timedelta("1D")).tolist()
    assert (rows["issued_at"] == rows.index.floor("D")).all()
    assert rows["model_version_id"].isna().all()


def test_backtest__a_fit_is_that_of_a_training_up_to_its_origin(world: World) -> None:
    """The first origin's forecasts are those of a version trained on the same window: no other rows came in."""
    run = backtest(world, window="P50D", end_date="2020-03-01")
    trained = front.train(world.client, start_date="2020-01-11", end_date="2020-02-29", promote="never")
    front.predict(world.client, start_date="2020-03-01", end_date="2020-03-01", model_version_id=trained["result"]["model_version_id"])
    issued = world.client.get("/models/quick/predictions?start_date=2020-03-01&end_date=2020-03-01").json["items"]  # type: ignore[index]
    assert kept(world, run)["prediction"].tolist() == [row["prediction"] for row in issued]


def test_backtest__the_future_is_not_seen(world: World) -> None:
    """Rows from an origin on are changed beyond recognition: what was issued at it, and before, stays as it was."""
    before = kept(world, backtest(world, "alone", refit=1))
    file = world.data / "hourly.parquet"
    content = file.read_bytes()
    rows = pd.read_parquet(file)
    rows.loc[rows["time"] >= "2020-03-06", "power"] = 1e6
    rows.to_parquet(file)
    try:
        after = kept(world, backtest(world, "alone", refit=1))
    finally:
        file.write_bytes(content)
    early = before["issued_at"] <= "2020-03-06"
    assert early.sum() == 6 * 24
    assert after["prediction"][early].tolist() == before["prediction"][early].tolist()
    assert after["seasonal_naive"][early].tolist() == before["seasonal_naive"][early].tolist()
    assert after["prediction"][~early].tolist() != before["prediction"][~early].tolist()


@pytest.mark.parametrize(("name", "first"), [("declared", "2020-03-06T00:00Z"), ("quick", "2020-03-05T22:00Z")])
def test_backtest__weather_is_seen_as_far_ahead_as_it_is_known(world: World, name: str, first: str) -> None:
    """Declared as known a day ahead, nothing later is looked at. Undeclared it is known as far as the source tells, as in a training: then
    the last two hours of a day look at the first of the next."""
    before = kept(world, backtest(world, name))
    file = world.data / "hourly.parquet"
    content = file.read_bytes()
    rows = pd.read_parquet(file)
    rows.loc[rows["time"] > "2020-03-06", "wind"] *= -100
    rows.to_parquet(file)
    try:
        after = kept(world, backtest(world, name))
    finally:
        file.write_bytes(content)
    changed = before["timestamp"][before["prediction"] != after["prediction"]]
    assert changed.min() >= pd.Timestamp(first)
    assert changed.max() > pd.Timestamp("2020-03-06T00:00Z")


def test_backtest__what_is_not_to_be_believed_is_told_from_the_past_alone(world: World) -> None:
    """Targets that cannot be are seen by no forecast; whether they can be does not depend on what came later."""
    rows = front.hourly()
    rows.loc[rows["time"].isin(pd.to_datetime(["2020-03-02T12:00Z", "2020-03-07T12:00Z"])), "power"] = -50.0
    rows.to_parquet(world.data / "doubtful.parquet")
    before = kept(world, backtest(world, "doubtful"))
    assert before["actual"].min() == -50.0
    assert before["seasonal_naive"].min() > 0
    rows.loc[rows["time"] >= "2020-03-06", "power"] *= 1000
    rows.to_parquet(world.data / "doubtful.parquet")
    after = kept(world, backtest(world, "doubtful"))
    early = before["issued_at"] <= "2020-03-06"
    for name in ("prediction", "seasonal_naive", "climatology"):
        assert after[name][early].tolist() == before[name][early].tolist()


def test_backtest__lead_times_reach_beyond_a_day(world: World) -> None:
    run = backtest(world, "alone", horizon="P2D", step="P1D", end_date="2020-03-06")
    rows, result = kept(world, run), run["result"]
    leads = (rows["timestamp"] - rows["issued_at"]) / pd.Timedelta("1h")
    assert sorted(leads.unique()) == list(range(48))
    assert len(rows) == 5 * 48 + 24  # the last origin's second day lies beyond the range
    assert not rows.duplicated(["timestamp", "issued_at"]).any()
    assert [one["lead_time"] for one in result["by_lead_time"]][-1] == "P1DT23H"
    naive = rows.set_index("timestamp")["seasonal_naive"]
    power = front.hourly().set_index("time")["power"]
    lag = pd.to_timedelta(np.where(leads >= 24, 2, 1), unit="D")
    assert naive.tolist() == power.reindex(naive.index - lag).tolist()


def test_backtest__of_rows_that_say_when_they_became_known(world: World) -> None:
    run = backtest(world, "dated", refit=4, window="expanding")
    rows = kept(world, run).set_index("timestamp")
    assert run["result"]["knowledge"] == "known_at_origin"
    power = front.hourly().set_index("time")["power"]
    assert rows["actual"].tolist() == (power.reindex(rows.index) + 100).tolist()  # as known now
    # what was measured the day before was not corrected yet
    assert rows["seasonal_naive"].tolist() == power.reindex(rows.index - pd.Timedelta("1D")).tolist()


def test_backtest__forecasts_what_time_travel_forecasts(world: World) -> None:
    run = backtest(world, "dated", window="P50D", end_date="2020-03-01")
    origin = "2020-03-01T00:00:00Z"
    past = {"model_name": "dated", "start_date": "2020-01-11", "end_date": "2020-02-29", "time_travel_date": origin}
    version = front.train(world.client, **past)["result"]["model_version_id"]
    day = {"start_date": "2020-03-01", "end_date": "2020-03-01"}
    front.predict(world.client, model_name="dated", model_version_id=version, data_at=origin, **day)
    issued = world.client.get("/models/dated/predictions?source=backfill").json["items"]  # type: ignore[index]
    assert kept(world, run)["prediction"].tolist() == [row["prediction"] for row in issued]


def test_backtest__several_series(world: World) -> None:
    run = backtest(world, "sites")
    rows, result = kept(world, run), run["result"]
    assert len(rows) == 2 * 240
    assert [one["series"] for one in result["by_series"]] == [{"site": "north"}, {"site": "south"}]
    for one, (_, mine) in zip(result["by_series"], rows.groupby("site"), strict=True):
        assert one["mae"] == pytest.approx((mine["prediction"] - mine["actual"]).abs().mean())
        assert one["rows"] == 240
    power = front.hourly().set_index("time")["power"]
    south = rows[rows["site"] == "south"].set_index("timestamp")
    assert south["actual"].tolist() == (power.reindex(south.index) + 20).tolist()


def test_backtest__of_quantiles(world: World) -> None:
    run = backtest(world, "banded")
    rows, overall = kept(world, run), run["result"]["overall"]
    within = (rows["actual"] >= rows["quantile_P10"]) & (rows["actual"] <= rows["quantile_P90"])
    assert (overall["coverage"], overall["nominal_coverage"]) == (pytest.approx(within.mean()), 0.8)
    over = rows["actual"] - rows["quantile_P90"]
    assert overall["quantiles"][2]["pinball"] == pytest.approx(np.maximum(0.9 * over, -0.1 * over).mean())
    assert sum(one["rows"] * one["pinball"] for one in run["result"]["by_lead_time"]) / 240 == pytest.approx(overall["pinball"])


def test_backtest__beside_the_version_in_production(world: World) -> None:
    trained = front.train(world.client, end_date="2020-03-04", promote="never")
    version = trained["result"]["model_version_id"]
    world.client.post("/model/promote", json={"model_name": "quick", "model_version_id": version})
    run = backtest(world)
    rows, result = kept(world, run), run["result"]
    assert result["production"]["model_version_id"] == version
    assert "96 rows" in result["production"]["note"]
    assert rows["production"].isna().tolist() == (rows["issued_at"] < "2020-03-05").tolist()
    unseen = rows["production"].notna()
    theirs, mine = ((rows[name] - rows["actual"])[unseen].abs().mean() for name in ("production", "prediction"))
    beside = result["overall"]["baselines"]["production"]
    assert (beside["rows"], beside["mae"], beside["skill"]) == (144, pytest.approx(theirs), pytest.approx(1 - mine / theirs))
    other = backtest(world, horizon="PT12H")["result"]["production"]
    assert "horizon of P1D" in other["note"]


def test_backtest__whole_days_are_local_ones(world: World) -> None:
    rows = kept(world, backtest(world, "local", start_date="2020-03-05", end_date="2020-03-06"))
    assert rows["issued_at"].unique().tolist() == [pd.Timestamp("2020-03-04T23:00Z"), pd.Timestamp("2020-03-05T23:00Z")]


def test_backtest__steps_that_cannot_be_forecast_are_told(world: World) -> None:
    run = backtest(world, start_date="2020-01-01", end_date="2020-01-10", refit=1, window="P20D")
    steps = run["result"]["steps"]
    assert steps == {"total": 10, "forecast": 8, "skipped": 2}
    assert [(one["start"], one["kind"]) for one in run["result"]["skipped"]] == [
        ("2020-01-01T00:00:00Z", "too_few_rows"),
        ("2020-01-02T00:00:00Z", "too_few_rows"),
    ]
    failed = front.ended(world.client.post("/models/quick/backtest", json=RANGE | {"start_date": "2020-01-01"}, headers=front.WAIT))
    assert (failed["status"], failed["error"]["kind"]) == ("failed", "too_few_rows")


def test_backtest__its_rows_are_never_the_newest(world: World) -> None:
    run = backtest(world, "naive")
    address = "/models/naive/predictions"
    assert world.client.get(address).json["items"] == []  # type: ignore[index]
    found = world.client.get(f"{address}?source=backtest&limit=1").json["items"][0]  # type: ignore[index]
    assert (found["run_id"], found["model_version_id"]) == (run["id"], None)
    assert run["result"]["overall"]["skill"] == pytest.approx(0)


def test_backtest__pages_hold_every_issue_once(world: World) -> None:
    run = backtest(world, "alone", horizon="P2D", step="P1D", end_date="2020-03-06")
    found, cursor = [], {}
    while True:
        query = {"run_id": run["id"], "limit": 31} | cursor
        page = world.client.get("/models/alone/predictions", query_string=query).json
        found += page["items"]  # type: ignore[index]
        if not page["next_cursor"]:  # type: ignore[index]
            break
        cursor = {"cursor": page["next_cursor"]}  # type: ignore[index]
    assert len({(row["timestamp"], row["issued_at"]) for row in found}) == len(found) == run["result"]["rows"]


def test_backtest__with_an_idempotency_key_is_one_run(world: World) -> None:
    runs = [world.client.post("/models/naive/backtest", json=RANGE, headers={"Idempotency-Key": "once"}).json for _ in range(2)]
    assert runs[0]["id"] == runs[1]["id"]  # type: ignore[index]


def test_backtest__asked_for_again_tells_the_same(world: World) -> None:
    run = backtest(world, "naive")
    again = front.ended(world.client.post(f"/runs/{run['id']}/retry", json={}, headers=front.WAIT))
    told = ("overall", "by_lead_time", "steps", "data", "output")
    assert {name: again["result"][name] for name in told} == {name: run["result"][name] for name in told}
    assert len(kept(world, again)) == 240


def test_backtest__is_cancelled_while_it_fits(world: World) -> None:
    began = world.client.post("/models/quick/backtest", json=RANGE | {"refit": 1, "start_date": "2020-02-01"}).json
    assert began is not None
    world.client.post(f"/runs/{began['id']}/cancel")
    ended = world.system.services.waiter.wait(began["id"], seconds=30)
    assert (ended.status, ended.result) == ("cancelled", None)
    assert world.client.get("/models/quick/predictions", query_string={"run_id": began["id"]}).json["items"] == []  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"step": "PT0S"}, "step"),
        ({"step": "-P1D"}, "step"),
        ({"step": "daily"}, "step"),
        ({"step": "PT90M"}, "step"),
        ({"step": "PT1H", "start_date": "1950-01-01"}, "step"),
        ({"step": 1}, "step"),
        ({"horizon": "PT90M"}, "horizon"),
        ({"horizon": "PT36H"}, "horizon"),
        ({"horizon": "PT0S"}, "horizon"),
        ({"refit": 0}, "refit"),
        ({"refit": "sometimes"}, "refit"),
        ({"refit": True}, "refit"),
        ({"refit": 1, "start_date": "2016-01-01"}, "refit"),
        ({"window": "P0D"}, "window"),
        ({"window": "long"}, "window"),
        ({"window": {"type": "rolling"}}, "window"),
        ({"window": {"type": "sliding", "length": "P9D"}}, "window"),
        ({"window": {"size": 1}}, "window.size"),
        ({"window": 5}, "window"),
        ({"start_date": "2030-01-01", "end_date": "2030-02-01"}, "start_date"),
        ({"end_date": "2020-02-01"}, "end_date"),
        ({"start_date": "2020-02-30"}, "start_date"),
        ({"other": 1}, "other"),
    ],
)
def test_backtest__what_makes_no_sense_is_refused_and_starts_nothing(world: World, changes: dict[str, Any], field: str) -> None:
    before = world.client.get("/runs?kind=backtest").json
    answer = world.client.post("/models/quick/backtest", json=RANGE | changes)
    assert list(front.errors_of(answer)) == [field]
    assert world.client.get("/runs?kind=backtest").json == before
    front.errors_of(world.client.post("/models/nothing/backtest", json=RANGE), 404)


def test_predictions__of_a_run_that_is_not_of_the_model_are_refused(world: World) -> None:
    run = backtest(world, "naive")
    for name, id in (("quick", run["id"]), ("naive", "nothing")):
        assert list(front.errors_of(world.client.get(f"/models/{name}/predictions?run_id={id}"))) == ["run_id"]
