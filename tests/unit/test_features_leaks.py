"""No feature may use a target value from its row's issue time on: whatever the frequency, the horizon, the zone, the gaps."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic

from mlsys.pipelines import calendar, durations, featurise
from mlsys.records import Layout

DAY = timedelta(days=1)
AUTUMN = datetime(2021, 9, 15, tzinfo=UTC)  # so that clocks change within the series
LAYOUTS = [
    synthetic.layout(),
    synthetic.layout(timezone="Europe/Amsterdam"),
    synthetic.layout(frequency=timedelta(minutes=15), timezone="America/New_York"),
    synthetic.layout(horizon=timedelta(hours=6)),
    synthetic.layout(horizon=timedelta(days=3), timezone="Australia/Lord_Howe"),
    synthetic.layout(frequency=DAY),
    synthetic.layout(frequency=DAY, horizon=timedelta(days=7), timezone="Europe/Amsterdam"),
    synthetic.layout(frequency=timedelta(days=7), horizon=timedelta(days=7)),
]


def name(layout: Layout) -> str:
    return f"{durations.format_frequency(layout.frequency)} {durations.format_duration(layout.horizon)} {layout.timezone}"


def features(frame: pd.DataFrame, layout: Layout, tmp_path: Path) -> featurise.Features:
    ports = synthetic.ports(tmp_path)
    setup = featurise.learn(featurise.split(frame, layout), layout, {"calendar": {}, "exogenous": {}, "lags": {}}, ports)
    return featurise.featurise(featurise.split(frame, layout), setup, lambda _key, series: pd.DatetimeIndex(series.index))


@pytest.mark.parametrize("layout", LAYOUTS, ids=name)
def test_features__changing_targets_from_the_issue_time_on_changes_no_row_issued_before(layout: Layout, tmp_path: Path) -> None:
    frame = synthetic.load(75 if layout.frequency < DAY else 600, start=AUTUMN, step=layout.frequency)
    frame = frame.drop(index=frame.index[len(frame) // 3 : len(frame) // 3 + 40])
    before = features(frame, layout, tmp_path)
    for part in (0.5, 0.7, 0.85):
        issue = before.issued[int(len(before) * part)]
        changed = frame.assign(load=frame["load"].where(frame["time"] < issue, 1e6))
        after = features(changed, layout, tmp_path)
        known = np.asarray(before.issued <= issue)
        assert known.sum() > 20
        pd.testing.assert_frame_equal(after.frame[known], before.frame[known], check_exact=True)
        assert not after.frame[~known].equals(before.frame[~known])


@pytest.mark.parametrize("layout", LAYOUTS, ids=name)
def test_features__a_row_is_the_same_from_a_short_history_as_from_a_long_one(layout: Layout, tmp_path: Path) -> None:
    frame = synthetic.load(90 if layout.frequency < DAY else 500, step=layout.frequency)
    series = featurise.split(frame, layout)
    setup = featurise.learn(series, layout, {"calendar": {}, "exogenous": {}, "lags": {}}, synthetic.ports(tmp_path))
    last = pd.DatetimeIndex(series[()].index)[-5:]
    short = series[()][series[()].index >= last[0] - setup.lookback()]
    assert len(short) < len(series[()])
    one = featurise.featurise({(): series[()]}, setup, lambda *_: last)
    other = featurise.featurise({(): short}, setup, lambda *_: last)
    pd.testing.assert_frame_equal(one.frame, other.frame, check_exact=True)


def test_lags__go_by_timestamp_across_gaps(tmp_path: Path) -> None:
    layout = synthetic.layout()
    frame = synthetic.load(40)
    gap = (frame["time"] >= "2021-01-20") & (frame["time"] < "2021-01-21")
    found = features(frame[~gap], layout, tmp_path).frame
    values = frame.set_index("time")["load"]
    after = found.loc["2021-01-21 05:00+00:00"]
    assert np.isnan(after["target_lag_1"])
    assert after["target_lag_2"] == values["2021-01-19 05:00"]
    assert after["target_lag_7"] == values["2021-01-14 05:00"]
    assert after["target_last"] == values["2021-01-19 05:00"]
    week = [values[f"2021-01-{day} 05:00"] for day in (14, 15, 16, 17, 18, 19)]
    assert after["target_mean_7"] == pytest.approx(np.mean(week))
    assert after["target_max_7"] == max(week)


def test_lags__follow_the_local_clock_over_its_change(tmp_path: Path) -> None:
    layout = synthetic.layout(timezone="Europe/Amsterdam")
    frame = synthetic.load(20, start=pd.Timestamp("2021-10-20", tz="UTC").to_pydatetime())
    values = frame.set_index("time")["load"]
    found = features(frame, layout, tmp_path).frame
    noon_after, noon_before = pd.Timestamp("2021-10-31 11:00Z"), pd.Timestamp("2021-10-30 10:00Z")  # both 12:00 on the wall
    assert found.loc[noon_after, "target_lag_1"] == values[noon_before]


def test_lags__a_short_horizon_uses_the_hours_before_it(tmp_path: Path) -> None:
    frame = synthetic.load(10)
    values = frame.set_index("time")["load"]
    row = features(frame, synthetic.layout(horizon=timedelta(hours=6)), tmp_path).frame.loc["2021-01-09 09:00+00:00"]
    assert row["target_lag_horizon"] == values["2021-01-09 03:00"]
    assert row["target_latest"] == values["2021-01-09 05:00"]


def test_issue_times__are_those_of_the_calendar(tmp_path: Path) -> None:
    layout = synthetic.layout(horizon=timedelta(days=3))
    found = features(synthetic.load(10), layout, tmp_path)
    assert found.issued.equals(calendar.issue_times(pd.DatetimeIndex(found.frame.index), layout))
