"""Every installed feature, found by its entry point, keeps the contract of base.Feature."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic

from mlsys.pipelines import base, build, calendar, featurise
from mlsys.records import Layout

OPTIONS: dict[str, dict[str, Any]] = {"solar": {"latitude": 51.5, "longitude": 4.0}}
LAYOUTS = [
    synthetic.layout(),
    synthetic.layout(horizon=timedelta(hours=6), timezone="Europe/Amsterdam"),
    synthetic.layout(frequency=timedelta(days=1), horizon=timedelta(days=7)),
]


@pytest.fixture(params=build.available(base.Feature))
def feature(request: pytest.FixtureRequest, tmp_path: Path) -> base.Feature:
    return build.build(
        base.Feature, {"type": request.param, **OPTIONS.get(request.param, {})}, ports=synthetic.ports(tmp_path), field="features"
    )


@pytest.fixture(params=LAYOUTS, ids=["hourly", "six hours", "daily"])
def layout(request: pytest.FixtureRequest) -> Layout:
    return request.param


def parts(layout: Layout, days: int = 90) -> tuple[pd.DataFrame, pd.DatetimeIndex, pd.DatetimeIndex]:
    series = featurise.split(synthetic.load(days, step=layout.frequency), layout)[()]
    rows = pd.DatetimeIndex(series.index)
    return series, rows, calendar.issue_times(rows, layout)


def test_available__the_built_in_features_are_installed() -> None:
    assert {"calendar", "exogenous", "lags", "solar"} <= set(build.available(base.Feature))


def test_feature__gives_one_row_of_numbers_per_row_asked_for(feature: base.Feature, layout: Layout) -> None:
    series, rows, issued = parts(layout)
    for some in (slice(None), slice(40, 41), slice(0, 0)):
        found = feature.compute(series, rows[some], issued[some], layout)
        assert found.index.equals(rows[some])
        assert found.columns.is_unique
        assert all(kind == np.float64 for kind in found.dtypes)
        assert not np.isinf(found.to_numpy()).any()


def test_feature__names_its_columns_by_layout_not_by_data(feature: base.Feature, layout: Layout) -> None:
    series, rows, issued = parts(layout)
    whole = feature.compute(series, rows, issued, layout)
    empty = feature.compute(series.iloc[:0], rows[-2:], issued[-2:], layout)
    assert list(whole.columns) == list(empty.columns)


def test_feature__uses_no_target_from_the_issue_time_on(feature: base.Feature, layout: Layout) -> None:
    series, rows, issued = parts(layout)
    issue = issued[len(rows) * 2 // 3]
    changed = series.assign(load=series["load"].where(rows < issue, -1e9))
    known = issued <= issue
    before = feature.compute(series, rows[known], issued[known], layout)
    pd.testing.assert_frame_equal(feature.compute(changed, rows[known], issued[known], layout), before, check_exact=True)


def test_feature__reads_no_further_back_or_ahead_than_it_says(feature: base.Feature, layout: Layout) -> None:
    series, rows, issued = parts(layout, 120)
    middle = slice(len(rows) // 2, len(rows) // 2 + 3)
    low, high = rows[middle][0] - feature.lookback(layout), rows[middle][-1] + feature.lookahead(layout)
    near = series[(series.index >= low) & (series.index <= high)]
    whole = feature.compute(series, rows[middle], issued[middle], layout)
    pd.testing.assert_frame_equal(feature.compute(near, rows[middle], issued[middle], layout), whole, check_exact=True)


def test_feature__does_not_change_its_input(feature: base.Feature, layout: Layout) -> None:
    series, rows, issued = parts(layout)
    copy = series.copy()
    feature.compute(series, rows, issued, layout)
    assert series.equals(copy)


def test_feature__settles_plain_options_that_it_accepts(feature: base.Feature, layout: Layout, tmp_path: Path) -> None:
    series, _, _ = parts(layout)
    settled = feature.settle(series, layout)
    assert set(settled) <= set(build.option_parameters(type(feature)))


def test_feature__opinion_on_activity_is_a_mask_or_none(feature: base.Feature, layout: Layout) -> None:
    _, rows, _ = parts(layout)
    active = feature.active(rows, layout)
    assert active is None or (active.dtype == bool and len(active) == len(rows))
