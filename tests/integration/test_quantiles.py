"""Quantiles through the front: asked for in the definition, calibrated, in every place where a forecast is read, and replayed."""

import io
from collections.abc import Iterator
from typing import Any

import front
import numpy as np
import pandas as pd
import pytest
from front import WAIT, World

LEVELS = [0.1, 0.5, 0.9]
COLUMNS = ["quantile_P10", "quantile_P50", "quantile_P90"]
ROW = ["timestamp", "prediction", *COLUMNS, "quality", "issued_at", "created_at", "model_version_id", "run_id"]
MORE: dict[str, Any] = {"type": "lightgbm", "params": {"num_iterations": 30, "seeds": 1}, "quantiles": LEVELS}
MODELS = {
    "quick": front.definition(model=MORE),
    "naive": front.definition(model={"type": "seasonal_naive", "quantiles": [0.9, 0.025]}),
    "climate": front.definition(model={"type": "climatology", "quantiles": LEVELS}),
    "sites": front.definition(model=MORE, series_key=["site"], source={"type": "parquet", "path": "sites.parquet"}),
}


def sites() -> pd.DataFrame:
    """Three series of one shape and very different size, in one file."""
    parts = [front.hourly().assign(site=site) for site in ("north", "south", "west")]
    for size, part in zip((1, 10, 100), parts, strict=True):
        part["power"] *= size
    return pd.concat(parts).sample(frac=1, random_state=1)


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = embedded_server.clone()
    with front.started(tmp_path_factory.mktemp("quantiles"), url, MODELS) as found:
        sites().to_parquet(found.data / "sites.parquet")
        for name in MODELS:
            version = front.train(found.client, model_name=name)["result"]["model_version_id"]
            found.client.post("/model/promote", json={"model_name": name, "model_version_id": version})
        yield found
    embedded_server.drop(url)


def written(run: Any) -> pd.DataFrame:
    return pd.read_parquet(run["result"]["output"]["uri"].removeprefix("file://"))


def test_quantiles__are_written_kept_and_told_alike(world: World) -> None:
    run = front.predict(world.client)
    output = written(run)
    assert list(output.columns) == ["time", *ROW[1:]]
    address = "/models/quick/predictions?start_date=2020-03-16&end_date=2020-03-17"
    items = world.client.get(address).json["items"]  # type: ignore[index]
    csv = pd.read_csv(io.BytesIO(world.client.get(address, headers={"Accept": "text/csv"}).data))
    parquet = pd.read_parquet(io.BytesIO(world.client.get(address, headers={"Accept": "application/vnd.apache.parquet"}).data))
    assert [list(item) for item in items] == [ROW] * 48
    assert list(csv.columns) == list(parquet.columns) == ROW
    for name in COLUMNS:
        assert [item[name] for item in items] == output[name].tolist() == parquet[name].tolist()
        assert csv[name].tolist() == pytest.approx(output[name].tolist())


@pytest.mark.parametrize("model", ["quick", "climate", "sites"])
def test_quantiles__never_cross_and_stay_in_the_range_seen(world: World, model: str) -> None:
    found = written(front.predict(world.client, model_name=model))
    low, middle, high = (found[name].to_numpy() for name in COLUMNS)
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert (low < high).mean() > 0.9
    seen = (sites() if model == "sites" else front.hourly())["power"]
    assert seen.min() <= low.min()
    assert high.max() <= seen.max()


def test_quantiles__the_median_is_the_point_forecast(world: World) -> None:
    found = written(front.predict(world.client))
    between = (found["quantile_P10"] < found["prediction"]) & (found["prediction"] < found["quantile_P90"])
    assert found["prediction"][between].equals(found["quantile_P50"][between])
    assert between.mean() > 0.9


def test_quantiles__columns_are_in_order_of_level_whatever_the_definition_says(world: World) -> None:
    found = written(front.predict(world.client, model_name="naive"))
    assert list(found.columns)[:4] == ["time", "prediction", "quantile_P2.5", "quantile_P90"]
    items = world.client.get("/models/naive/predictions").json["items"]  # type: ignore[index]
    assert list(items[0])[:4] == ["timestamp", "prediction", "quantile_P2.5", "quantile_P90"]


@pytest.mark.parametrize("model", ["quick", "sites"])
def test_quantiles__a_replay_compares_them_too(world: World, model: str) -> None:
    trained = world.client.get(f"/runs?kind=train&model_name={model}").json["items"][0]  # type: ignore[index]
    predicted = front.predict(world.client, model_name=model)
    for run in (trained, predicted):
        done = front.ended(world.client.post(f"/runs/{run['id']}/replay", headers=WAIT))
        assert done["result"]["verdict"] == "identical", done["result"]


def test_series__one_model_forecasts_each_by_itself(world: World) -> None:
    run = front.predict(world.client, model_name="sites")
    found = written(run)
    assert found["site"].value_counts().to_dict() == {"north": 48, "south": 48, "west": 48}
    truth = sites().rename(columns={"power": "truth"})[["time", "site", "truth"]]
    both = found.merge(truth.assign(time=truth["time"].dt.as_unit("us")), on=["time", "site"])
    assert len(both) == 144
    error = (both["prediction"] - both["truth"]).abs().groupby(both["site"]).mean()
    size = both["truth"].abs().groupby(both["site"]).mean()
    assert (error < 0.6 * size).all()  # the small ones no less than the large
    inside = both["truth"].between(both["quantile_P10"], both["quantile_P90"]).groupby(both["site"]).mean()
    assert inside.between(0.5, 1).all()
    items = world.client.get("/models/sites/predictions?limit=3&start_date=2020-03-16").json["items"]  # type: ignore[index]
    assert [item["site"] for item in items] == ["north", "south", "west"]


def test_series__a_new_one_is_forecast_and_a_series_without_rows_is_not_made_up(world: World) -> None:
    rows = sites()
    rows = pd.concat([rows[rows["site"] != "west"], rows[rows["site"] == "north"].assign(site="new")])
    rows.to_parquet(world.data / "changed.parquet")
    found = written(front.predict(world.client, model_name="sites", file_path="changed.parquet"))
    assert set(found["site"]) == {"new", "north", "south"}
    assert np.isfinite(found["prediction"]).all()


@pytest.mark.parametrize("params", [{"objective": "l2"}, {"form": "difference"}, {"form": "level"}])
def test_quantiles__with_other_parameters(world: World, params: dict[str, Any]) -> None:
    run = front.train(world.client, params=params, promote="never")
    predicted = front.predict(world.client, model_version_id=run["result"]["model_version_id"])
    found = written(predicted)
    assert np.isfinite(found[COLUMNS].to_numpy()).all()
    assert (found["quantile_P10"] <= found["quantile_P90"]).all()


def test_openapi__documents_the_columns_of_a_forecast(world: World) -> None:
    document = world.client.get("/openapi.json").json
    assert document is not None
    shape = document["components"]["schemas"]["PredictionOut"]
    assert {"timestamp", "prediction", "quality", "issued_at", "created_at", "model_version_id", "run_id"} <= set(shape["properties"])
    assert shape["additionalProperties"] is not False
    assert "quantile_P10" in str(document["components"]["schemas"]["PredictionsOut"])
