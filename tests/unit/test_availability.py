"""Features see what is known at a row's issue time, however they are configured; what cannot be known is refused by name."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic

from mlsys import errors
from mlsys.pipelines import base, build, calendar, definition, featurise
from mlsys.records import Layout

HOURS = timedelta(hours=1)
MINIMAL = {"source": {"type": "parquet", "path": "x.parquet"}, "timestamp": "time", "target": "load", "frequency": "1h"}


def compute(name: str, options: dict[str, Any], frame: pd.DataFrame, layout: Layout, tmp_path: Path) -> pd.DataFrame:
    feature = build.build(base.Feature, {"type": name, **options}, ports=synthetic.ports(tmp_path), field=name)
    series = featurise.split(frame, layout)[()]
    rows = pd.DatetimeIndex(series.index)
    return feature.compute(series, rows, calendar.issue_times(rows, layout), layout)


def test_refusal__says_when_it_is_known_and_how_far_forecasts_reach() -> None:
    with pytest.raises(errors.Invalid) as caught:
        definition.normalise({**MINIMAL, "features": {"lags": {"at": ["PT6H"]}}})
    (text,) = caught.value.fields["features.lags.at.PT6H"]
    assert "known PT6H before a row, but forecasts reach P1D" in text
    definition.normalise({**MINIMAL, "horizon": "PT6H", "features": {"lags": {"at": ["PT6H"]}}})


def test_refusal__comes_with_the_data_where_columns_are_named_only_there(tmp_path: Path) -> None:
    layout = synthetic.layout()
    series = featurise.split(synthetic.load(40), layout)
    with pytest.raises(errors.BadData, match=r"features\.exogenous\.known\.wind: This is not one of the model's exogenous columns"):
        featurise.learn(series, layout, {"exogenous": {"known": {"wind": "P2D"}}}, synthetic.ports(tmp_path))


def test_lags__those_that_are_asked_for(tmp_path: Path) -> None:
    frame = synthetic.load(80)
    values = frame.set_index("time")["load"]
    found = compute("lags", {"at": ["P3D", "PT36H", "P50D"], "windows": [3]}, frame, synthetic.layout(), tmp_path)
    assert set(found) == {"target_lag_3", "target_lag_P1DT12H", "target_lag_50", "target_mean_3", "target_max_3", "target_last"}
    row = found.loc[pd.Timestamp("2021-03-10 10:00Z")]
    assert row["target_lag_3"] == values["2021-03-07 10:00"]
    assert row["target_lag_P1DT12H"] == values["2021-03-08 22:00"]
    assert row["target_lag_50"] == values["2021-01-19 10:00"]
    assert row["target_mean_3"] == pytest.approx(values[[f"2021-03-{day:02} 10:00" for day in (7, 8, 9)]].mean())


@pytest.mark.parametrize("options", [{"at": ["PT30H", "P2D"], "windows": [60]}, {"at": ["P40D"], "windows": []}])
def test_lags__use_no_target_from_the_issue_time_on_and_read_no_further_back_than_they_say(options: dict[str, Any], tmp_path: Path) -> None:
    layout, frame = synthetic.layout(timezone="Europe/Amsterdam"), synthetic.load(120)
    feature = build.build(base.Feature, {"type": "lags", **options}, ports=synthetic.ports(tmp_path), field="lags")
    series = featurise.split(frame, layout)[()]
    rows = pd.DatetimeIndex(series.index)
    issued = calendar.issue_times(rows, layout)
    some = slice(len(rows) - 30, len(rows))
    before = feature.compute(series, rows[some], issued[some], layout)
    cut = series[series.index >= rows[some][0] - feature.lookback(layout)]
    pd.testing.assert_frame_equal(feature.compute(cut, rows[some], issued[some], layout), before, check_exact=True)
    changed = series.assign(load=series["load"].where(rows < issued[some][-1], -1e9))
    known = issued[some] <= issued[some][-1]
    pd.testing.assert_frame_equal(feature.compute(changed, rows[some][known], issued[some][known], layout), before[known], check_exact=True)


@pytest.mark.parametrize("horizon", [timedelta(hours=6), timedelta(days=1), timedelta(days=3)])
def test_exogenous__nothing_is_seen_that_was_not_known_then(horizon: timedelta, tmp_path: Path) -> None:
    """A value counts as known for ``lead`` before its time: later ones may be anything."""
    layout, frame = synthetic.layout(horizon=horizon), synthetic.load(30)
    options = {"known": {"temperature": f"PT{horizon // HOURS}H"}}
    before = compute("exogenous", options, frame, layout, tmp_path)
    rows = pd.DatetimeIndex(before.index)
    issued = calendar.issue_times(rows, layout)
    row = len(rows) // 2
    wild = frame.assign(temperature=frame["temperature"].where(frame["time"] <= issued[row] + horizon, 1e6))
    after = compute("exogenous", options, wild, layout, tmp_path)
    pd.testing.assert_series_equal(after.iloc[row], before.iloc[row])
    assert np.isfinite(before["x.temperature"]).all()
    free = compute("exogenous", {}, frame, layout, tmp_path)
    assert before["x.temperature"].equals(free["x.temperature"])
    assert before["x.temperature_+2"].isna().mean() > free["x.temperature_+2"].isna().mean()


def test_calendar__holidays_of_a_country_and_the_days_beside_them(tmp_path: Path) -> None:
    layout = synthetic.layout(timezone="Europe/Amsterdam")
    frame = synthetic.load(130)
    found = compute("calendar", {"holidays": "NL"}, frame, layout, tmp_path)
    local = pd.DatetimeIndex(found.index).tz_convert("Europe/Amsterdam")
    on = sorted({str(day) for day in local[found["holiday"] == 1].date})
    assert on == ["2021-01-01", "2021-04-02", "2021-04-04", "2021-04-05", "2021-04-27"]
    assert sorted({str(day) for day in local[found["holiday_before"] == 1].date if str(day) > "2021-04-10"}) == ["2021-04-26"]
    assert sorted({str(day) for day in local[found["holiday_after"] == 1].date if str(day) > "2021-04-10"}) == ["2021-04-28"]
    assert set(compute("calendar", {}, frame, layout, tmp_path)) == set(found) - {"holiday", "holiday_before", "holiday_after"}


def test_calendar__a_part_of_a_country_has_its_own(tmp_path: Path) -> None:
    days = [
        compute("calendar", {"holidays": place}, synthetic.load(10), synthetic.layout(), tmp_path)["holiday"].sum()
        for place in ("DE", "DE-BY")
    ]
    assert days == [24, 48]  # New Year; and Epiphany


def test_calendar__without_the_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(errors.Invalid) as caught:
        definition.normalise({**MINIMAL, "features": {"calendar": {"holidays": "NL"}}})
    assert "pip install 'mlsys[holidays]'" in caught.value.fields["features.calendar.holidays"][0]


@pytest.mark.parametrize(("days", "expected"), [(120, False), (400, True)])
def test_calendar__the_time_of_year_is_used_where_a_year_was_seen(days: int, expected: bool, tmp_path: Path) -> None:
    layout = synthetic.layout(frequency=timedelta(days=1))
    series = featurise.split(synthetic.load(days, step=timedelta(days=1)), layout)
    setup = featurise.learn(series, layout, {"calendar": {}}, synthetic.ports(tmp_path))
    found = featurise.featurise(series, setup, lambda _key, one: pd.DatetimeIndex(one.index)).frame
    assert ("year_sin" in found) is expected
    assert setup.features["calendar"] == {"year": expected}
    forced = featurise.learn(series, layout, {"calendar": {"year": not expected}}, synthetic.ports(tmp_path))
    assert forced.features["calendar"] == {"year": not expected}
