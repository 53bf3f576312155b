from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
import synthetic

from mlsys.pipelines import calendar, cleaning, featurise
from mlsys.pipelines.features.calendar import Calendar
from mlsys.pipelines.features.exogenous import Exogenous
from mlsys.pipelines.features.solar import Solar
from mlsys.records import Layout


def compute(frame: pd.DataFrame, layout: Layout, rows: pd.DatetimeIndex | None = None) -> pd.DataFrame:
    series = featurise.split(frame, layout)[()]
    rows = pd.DatetimeIndex(series.index) if rows is None else rows
    return Exogenous().compute(series, rows, calendar.issue_times(rows, layout), layout)


def test_exogenous__looks_around_by_timestamp() -> None:
    frame = synthetic.load(6, step=timedelta(minutes=15))
    layout = synthetic.layout(frequency=timedelta(minutes=15))
    value = frame.set_index("time")["temperature"]
    row = compute(frame.drop(index=frame.index[frame["time"] == "2021-01-03 13:00"]), layout).loc["2021-01-03 12:00+00:00"]
    assert row["x.temperature"] == value["2021-01-03 12:00"]
    assert np.isnan(row["x.temperature_+1"])
    assert row["x.temperature_-1"] == value["2021-01-03 11:00"]
    assert row["x.temperature_+2"] == value["2021-01-03 14:00"]
    around = value["2021-01-03 10:00":"2021-01-03 14:00"].drop(pd.Timestamp("2021-01-03 13:00Z"))
    assert row["x.temperature_centred"] == pytest.approx(around.mean())
    day = value["2021-01-03"].drop(pd.Timestamp("2021-01-03 13:00Z"))
    assert row["x.temperature_day"] == pytest.approx(day.mean())


def test_exogenous__the_day_mean_is_of_the_local_day() -> None:
    frame = synthetic.load(6)
    found = compute(frame, synthetic.layout(timezone="Asia/Tokyo"))
    value = frame.set_index("time")["temperature"]
    assert found.loc["2021-01-03 20:00+00:00", "x.temperature_day"] == pytest.approx(value["2021-01-03 15:00":"2021-01-04 14:00"].mean())


def test_exogenous__gives_a_row_that_the_source_lacks_what_is_known_around_it() -> None:
    frame = synthetic.load(6)
    at = pd.DatetimeIndex(["2021-01-03 12:30"], tz="UTC").as_unit("us")
    row = compute(frame, synthetic.layout(), at).iloc[0]
    assert np.isnan(row["x.temperature"])
    assert not np.isnan(row["x.temperature_day"])


def test_calendar__is_a_circle_in_local_time() -> None:
    rows = pd.date_range("2021-07-01", periods=24 * 7, freq="1h", tz="UTC").as_unit("us")
    found = Calendar().compute(pd.DataFrame(), rows, rows, synthetic.layout(timezone="Europe/Amsterdam"))
    assert found.loc["2021-07-01 22:00+00:00", "hour_cos"] == pytest.approx(1)  # midnight on the wall
    for name in ("hour", "weekday", "year"):
        assert np.allclose(found[f"{name}_sin"] ** 2 + found[f"{name}_cos"] ** 2, 1)


def cloudy(days: int) -> pd.DataFrame:
    frame = synthetic.load(days)
    chance = np.random.default_rng(0)
    return frame.assign(low=chance.uniform(0, 1, len(frame)), high=chance.uniform(0, 1, len(frame)), holiday=0.0)


def test_cleaning__dead_stretches_become_missing_and_rows_stay() -> None:
    layout = synthetic.layout(exogenous=("low", "high", "holiday"))
    frame = cloudy(60)
    dead = (frame["time"] >= "2021-02-01 06:00") & (frame["time"] < "2021-02-03 06:00")
    frame.loc[dead, ["low", "high"]] = 0.0
    series = featurise.split(frame, layout)[()]
    moving = cleaning.learn([series], ["low", "high", "holiday"], layout)
    assert set(moving) == {"low", "high"}
    cleaned, touched = cleaning.clean(series, moving, layout)
    assert touched == 48
    assert cleaned[["low", "high"]].isna().to_numpy().sum() == 96
    assert cleaned["holiday"].notna().all()
    assert cleaned["load"].equals(series["load"])


def test_cleaning__one_column_at_rest_at_its_lowest_is_weather() -> None:
    layout = synthetic.layout(exogenous=("low", "high"))
    frame = cloudy(60)
    frame.loc[100:160, "low"] = 0.0
    frame.loc[300:360, "high"] = 0.5
    series = featurise.split(frame, layout)[()]
    cleaned, touched = cleaning.clean(series, cleaning.learn([series], ["low", "high"], layout), layout)
    assert touched == 61
    assert cleaned["low"].notna().all()


def test_cleaning__flags_lone_columns_and_nights_are_no_dead_feed() -> None:
    layout = synthetic.layout(exogenous=("low", "flag", "sun"))
    frame = cloudy(60)
    hour = frame["time"].dt.hour
    flag = (np.random.default_rng(1).uniform(0, 1, len(frame)) < 0.3).astype(float)
    frame = frame.assign(flag=flag, sun=np.where((hour > 8) & (hour < 16), frame["low"], 0.0))
    frame.loc[100:160, ["low", "flag"]] = 0.0
    series = featurise.split(frame, layout)[()]
    moving = cleaning.learn([series], ["low", "flag", "sun"], layout)
    assert set(moving) == {"low"}
    assert cleaning.clean(series, moving, layout)[1] == 0  # alone and at its lowest: that is weather


def test_cleaning__twelve_hours_are_not_too_long() -> None:
    layout = synthetic.layout(exogenous=("low",))
    frame = cloudy(60)
    frame.loc[100:111, "low"] = 0.5
    series = featurise.split(frame, layout)[()]
    moving = cleaning.learn([series], ["low"], layout)
    assert cleaning.clean(series, moving, layout)[1] == 0
    series.iloc[112, series.columns.get_loc("low")] = 0.5
    assert cleaning.clean(series, moving, layout)[1] == 13


@pytest.mark.parametrize(
    ("when", "latitude", "longitude", "elevation", "azimuth"),
    [  # worked out by hand: at solar noon 90 - latitude + declination; at the equinox the sun rises due east
        ("2017-06-21 12:00", 51.5, 0.0, 61.9, 179),
        ("2017-12-21 12:00", 51.5, 0.0, 15.1, 180),
        ("2017-03-20 06:00", 0.0, 0.0, -2.0, 90),
        ("2017-06-21 19:00", 40.0, -105.0, 73.4, 178),
    ],
)
def test_solar__knows_where_the_sun_stands(when: str, latitude: float, longitude: float, elevation: float, azimuth: float) -> None:
    from mlsys.pipelines import sun

    found = sun.position(pd.DatetimeIndex([when], tz="UTC").as_unit("us"), latitude, longitude)
    assert found[0][0] == pytest.approx(elevation, abs=0.5)
    assert found[1][0] == pytest.approx(azimuth, abs=4)


def test_solar__nights_are_inactive_and_clouds_take_light() -> None:
    layout = synthetic.layout(exogenous=("cloud_cover_percent",))
    frame = synthetic.load(3, start=pd.Timestamp("2021-06-20", tz="UTC").to_pydatetime()).assign(cloud_cover_percent=100.0)
    series = featurise.split(frame, layout)[()]
    rows = pd.DatetimeIndex(series.index)
    plain = Solar(latitude=51.5, longitude=4.0)
    settled = plain.settle(series, layout)
    assert settled == {"clouds": {"cloud_cover_percent": 100.0}}
    solar = Solar(latitude=51.5, longitude=4.0, **settled)
    found = solar.compute(series, rows, rows, layout)
    active = solar.active(rows, layout)
    assert not active[0]
    assert active[12]
    assert (found["clear_sky"][~active] == 0).all()
    noon = found.iloc[12]
    assert noon["clouded_sky"] == pytest.approx(0.25 * noon["clear_sky"])
    assert 800 < noon["clear_sky"] < 1000
