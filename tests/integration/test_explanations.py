"""Explanations through the front: importances of a version, and what adds up to one of its forecasts."""

from collections.abc import Iterator
from typing import Any

import front
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from front import World

MODELS = {
    "quick": front.definition(),
    "naive": front.definition(model={"type": "seasonal_naive"}),
    "sites": front.definition(source={"type": "parquet", "path": "sites.parquet"}, series_key=["site"]),
    "dated": front.definition(source={"type": "parquet", "path": "dated.parquet"}, created_at="known_at", exogenous=["wind"]),
    "sunny": front.definition(features={"solar": {"latitude": 50, "longitude": 4}}),
}
AT = "2020-03-16T10:00:00Z"


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = embedded_server.clone()
    with front.started(tmp_path_factory.mktemp("explanations"), url, MODELS) as found:
        rows = front.hourly()
        sites = [rows.assign(site=site, power=rows["power"] + 5 * site) for site in (1, 2)]
        pd.concat(sites).to_parquet(found.data / "sites.parquet")
        rows.assign(known_at=rows["time"] - pd.Timedelta("2D")).to_parquet(found.data / "dated.parquet")
        yield found
    embedded_server.drop(url)


def trained(world: World, name: str = "quick") -> str:
    version: str = front.train(world.client, model_name=name, promote="never")["result"]["model_version_id"]
    return version


def explained(world: World, version: str, name: str = "quick", **query: Any) -> Any:
    answer = world.client.get(f"/models/{name}/versions/{version}/explanation", query_string=query)
    assert answer.status_code == 200, answer.text
    return answer.json


def stored(world: World) -> list[str]:
    with world.system.engine.connect() as connection:
        return list(connection.scalars(sa.text("SELECT model_version_id FROM version_importances")))


def test_importances__name_the_column_that_the_target_follows(world: World) -> None:
    version = trained(world)
    found = explained(world, version)
    assert {one["source"] for one in found["importances"]} == {"wind", "power", "hour", "weekday"}
    assert {one["source"] for one in found["importances"][:3]} == {"hour", "wind", "power"}
    assert all(one["permutation"] > 0.1 for one in found["importances"][:3])
    assert all(one["permutation"] < 0.1 for one in found["importances"][3:])
    assert sum(one["gain_share"] for one in found["importances"]) == pytest.approx(1)
    wind = next(one for one in found["importances"] if one["source"] == "wind")
    assert wind["gain"] == pytest.approx(sum(one["gain"] for one in found["features"] if one["source"] == "wind"))
    assert (found["note"], found["prediction"]) == ("", None)
    assert stored(world).count(version) == 1


def test_importances__are_measured_on_the_days_that_the_version_was_judged_by(world: World) -> None:
    version = trained(world)
    found = explained(world, version)
    judged = world.client.get(f"/models/quick/versions/{version}").json
    assert judged is not None
    assert found["permutation"]["rows"] == judged["metrics"]["rows"]
    assert found["permutation"]["mae"] == pytest.approx(judged["metrics"]["mae"])
    assert found["permutation"]["end"] == "2020-03-16T00:00:00Z"


def test_importances__are_kept_and_the_same_once_the_data_is_gone(world: World) -> None:
    first, second = trained(world), trained(world)
    before = explained(world, first)
    file = world.data / "hourly.parquet"
    content = file.read_bytes()
    file.unlink()
    try:
        assert explained(world, first) == before
        without = explained(world, second)
    finally:
        file.write_bytes(content)
    assert without["permutation"] is None
    assert "no importance by permutation" in without["note"]
    assert without["importances"][0]["gain"] > 0
    assert second not in stored(world)
    assert explained(world, second)["permutation"] == before["permutation"]


def test_contributions__add_up_to_the_forecast_that_was_stored(world: World) -> None:
    version = trained(world)
    front.predict(world.client, model_version_id=version)
    rows = world.client.get("/models/quick/predictions?start_date=2020-03-16&end_date=2020-03-17").json["items"]  # type: ignore[index]
    for row in rows[::7]:
        found = explained(world, version, timestamp=row["timestamp"])["prediction"]
        assert found["raw_prediction"] == pytest.approx(found["base"] + sum(one["contribution"] for one in found["contributions"]))
        for one in found["contributions"]:
            assert one["contribution"] == pytest.approx(sum(part["contribution"] for part in one["features"]))
        assert found["prediction"] == pytest.approx(row["prediction"])
        assert (found["issued_at"], found["substituted"], found["series"]) == (row["issued_at"], False, {})
    strengths = [abs(one["contribution"]) for one in found["contributions"]]
    assert strengths == sorted(strengths, reverse=True)
    wind = next(part for one in found["contributions"] for part in one["features"] if part["feature"] == "x.wind")
    measured = front.hourly().set_index("time")["wind"]
    assert wind["value"] == pytest.approx(measured[pd.Timestamp(found["timestamp"])])


def test_contributions__of_one_series_among_several(world: World) -> None:
    version = trained(world, "sites")
    one, two = (explained(world, version, "sites", timestamp=AT, series=site)["prediction"] for site in ("1", '{"site": 2}'))
    assert (one["series"], two["series"]) == ({"site": 1}, {"site": 2})
    assert two["prediction"] > one["prediction"]
    assert "site" in {part["source"] for part in two["contributions"]}
    for query, field in (({}, "series"), ({"series": "3"}, "series"), ({"series": '{"other": 1}'}, "series")):
        address = f"/models/sites/versions/{version}/explanation"
        assert list(front.errors_of(world.client.get(address, query_string={"timestamp": AT} | query))) == [field]


def test_contributions__from_what_was_known_then(world: World) -> None:
    version = trained(world, "dated")
    now, then = (explained(world, version, "dated", timestamp=AT, **at)["prediction"] for at in ({}, {"data_at": "2020-03-10"}))
    assert now["prediction"] != then["prediction"]
    values = {part["feature"]: part["value"] for one in then["contributions"] for part in one["features"]}
    assert values["x.wind"] is None  # two days ahead is what was known


def test_explanation__of_a_model_without_one_says_so(world: World) -> None:
    version = trained(world, "naive")
    found = explained(world, version, "naive")
    assert {one["gain"] for one in found["importances"]} == {None}
    assert found["importances"][0]["source"] == "power"
    assert found["importances"][0]["permutation"] > 0
    assert [one["permutation"] for one in found["importances"][1:]] == [0.0] * (len(found["importances"]) - 1)
    refused = front.errors_of(world.client.get(f"/models/naive/versions/{version}/explanation?timestamp={AT}"))
    assert "seasonal_naive" in refused["timestamp"][0]


def test_contributions__at_night_no_model_was_asked(world: World) -> None:
    version = trained(world, "sunny")
    found = explained(world, version, "sunny", timestamp="2020-03-16T00:00:00Z")["prediction"]
    assert (found["prediction"], found["contributions"]) == (0.0, [])
    assert "night" in found["note"]
    assert np.isfinite(explained(world, version, "sunny", timestamp=AT)["prediction"]["raw_prediction"])


def test_explanation__what_is_not_there_is_told(world: World) -> None:
    version, address = trained(world), "/models/quick/versions/{}/explanation"
    front.errors_of(world.client.get(address.format("nothing")), 404)
    front.errors_of(world.client.get(f"/models/naive/versions/{version}/explanation"), 404)
    front.errors_of(world.client.get(address.format(version), query_string={"as_of": "2020-01-01"}), 404)
    for query, field in (
        ({"timestamp": "noon"}, "timestamp"),
        ({"timestamp": "2020-03-16T10:17:00Z"}, "timestamp"),
        ({"timestamp": "2031-01-01"}, "timestamp"),
        ({"timestamp": AT, "series": "1"}, "series"),
        ({"timestamp": AT, "data_at": "2020-03-01"}, "data_at"),
        ({"series": "1"}, "series"),
        ({"other": "1"}, "other"),
    ):
        assert list(front.errors_of(world.client.get(address.format(version), query_string=query))) == [field], query


@pytest.mark.parametrize("form", ["level", "difference", "level+difference"])
def test_contributions__add_up_whatever_the_trees_learnt(world: World, form: str) -> None:
    version = front.train(world.client, promote="never", params={"form": form})["result"]["model_version_id"]
    found = explained(world, version, timestamp=AT)["prediction"]
    assert found["raw_prediction"] == pytest.approx(found["base"] + sum(one["contribution"] for one in found["contributions"]))
    assert found["raw_prediction"] == pytest.approx(found["prediction"])
