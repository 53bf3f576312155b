"""Series of other shapes than the first users', through the front: each is forecast, in finite numbers, or refused with a reason."""

from collections.abc import Iterator
from typing import Any

import front
import numpy as np
import pandas as pd
import pytest
from front import World

CHANCE = np.random.default_rng(7)
COLUMNS = ["prediction", "quantile_P10", "quantile_P90"]
LENIENT = {"frozen_target": False, "gaps": False, "completeness": {"minimum": 0.3}}


def frame(step: str, rows: int, values: Any, **columns: Any) -> pd.DataFrame:
    time = pd.date_range("2019-01-01", periods=rows, freq=step, tz="UTC")
    return pd.DataFrame({"time": time, "power": values, **columns})


def wave(rows: int, period: int) -> Any:
    return 10 * np.sin(2 * np.pi * np.arange(rows) / period) + CHANCE.normal(0, 1, rows)


SHAPES: dict[str, tuple[str, pd.DataFrame]] = {
    "daily_counts": ("1D", frame("1D", 300, CHANCE.poisson(20 + 8 * (np.arange(300) % 7 < 5)))),
    "weekly_negative": ("7D", frame("7D", 160, -500 - np.arange(160) + wave(160, 52))),
    "five_minutes": ("5min", frame("5min", 288 * 25, wave(288 * 25, 288))),
    "half_hours_with_gaps": ("30min", frame("30min", 48 * 40, wave(48 * 40, 48)).drop(index=range(500, 700))),
    "mostly_zero": ("1h", frame("1h", 24 * 60, np.where(np.arange(24 * 60) % 24 == 12, 5.0, 0.0))),
    "constant_stretches": ("1h", frame("1h", 24 * 60, np.where(np.arange(24 * 60) % 240 < 80, 7.0, wave(24 * 60, 24)))),
    "exogenous_mostly_missing": (
        "1h",
        frame("1h", 24 * 60, wave(24 * 60, 24), wind=np.where(np.arange(24 * 60) % 5 == 0, wave(24 * 60, 24), np.nan)),
    ),
    "exogenous_never_there": ("1h", frame("1h", 24 * 60, wave(24 * 60, 24), wind=np.full(24 * 60, np.nan))),
    "missing_targets": ("1h", frame("1h", 24 * 60, np.where(CHANCE.random(24 * 60) < 0.3, np.nan, wave(24 * 60, 24)))),
    "tiny": ("1h", frame("1h", 24 * 60, 1e-9 * wave(24 * 60, 24))),
    "huge": ("1h", frame("1h", 24 * 60, 1e12 * wave(24 * 60, 24))),
}


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = embedded_server.clone()
    more = {"type": "lightgbm", "params": front.QUICK, "quantiles": [0.1, 0.9]}
    models = {
        name: front.definition(frequency=step, source={"type": "parquet", "path": f"{name}.parquet"}, model=more, checks=LENIENT)
        | ({"horizon": "P7D"} if step == "7D" else {})
        for name, (step, _) in SHAPES.items()
    }
    with front.started(tmp_path_factory.mktemp("shapes"), url, models) as found:
        for name, (_, rows) in SHAPES.items():
            rows.to_parquet(found.data / f"{name}.parquet")
        yield found
    embedded_server.drop(url)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes__each_is_forecast_within_what_was_seen(world: World, name: str) -> None:
    rows = SHAPES[name][1]
    cut = rows["time"].iloc[int(len(rows) * 0.9)].normalize()
    trained = front.train(world.client, model_name=name, start_date=rows["time"].iloc[0].isoformat(), end_date=cut.isoformat())
    assert trained["status"] == "succeeded", trained["error"]
    version = trained["result"]["model_version_id"]
    ends = {"start_date": cut.isoformat(), "end_date": (rows["time"].iloc[-1] + pd.Timedelta("1s")).isoformat()}
    predicted = front.predict(world.client, model_name=name, model_version_id=version, **ends)
    assert predicted["status"] == "succeeded", predicted["error"]
    found = pd.read_parquet(predicted["result"]["output"]["uri"].removeprefix("file://"))
    assert np.isfinite(found[COLUMNS].to_numpy()).all()
    assert (found["quantile_P10"] <= found["quantile_P90"]).all()
    reach = np.nanmax(rows["power"]) - np.nanmin(rows["power"])
    assert found["prediction"].between(np.nanmin(rows["power"]) - reach, np.nanmax(rows["power"]) + reach).all()


def test_shapes__weekly_data_is_judged_on_as_many_rows_as_daily(world: World) -> None:
    rows = SHAPES["weekly_negative"][1]
    ends = {"start_date": rows["time"].iloc[0].isoformat(), "end_date": rows["time"].iloc[-1].isoformat()}
    validation = front.train(world.client, model_name="weekly_negative", **ends)["result"]["validation"]
    (scored,) = (check for check in validation["checks"] if check["name"] == "scored_days")
    assert (scored["passed"], scored["value"]) == (True, 28)
    assert validation["decision"] != "cannot_judge", validation


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (frame("1h", 20, wave(20, 24)), "rows of the window have a target"),
        (frame("1h", 24 * 60, np.nan), "0 of 1439 rows have a number in 'power'"),
    ],
    ids=["too short", "no target"],
)
def test_shapes__what_cannot_be_learnt_is_refused_with_a_reason(world: World, rows: pd.DataFrame, reason: str) -> None:
    rows.to_parquet(world.data / "poor.parquet")
    run = front.train(
        world.client, model_name="tiny", file_path="poor.parquet", start_date="2019-01-01", end_date=rows["time"].iloc[-1].isoformat()
    )
    assert run["status"] == "failed"
    assert reason in run["error"]["message"], run["error"]
