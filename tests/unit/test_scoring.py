"""Figures of forecasts against the same sums written out."""

from datetime import timedelta

import numpy as np
import pytest

from mlsys.pipelines import scoring

chance = np.random.default_rng(3)
N = 200
ACTUAL = chance.normal(10, 3, N)
FORECAST = ACTUAL + chance.normal(0.5, 1, N)
NAIVE = np.where(np.arange(N) % 10 == 0, np.nan, ACTUAL + chance.normal(0, 2, N))
LOW, HIGH = FORECAST - 1, FORECAST + 1.5
GROUP = np.arange(N) % 3
ALL = np.ones(N, dtype=bool)
ROWS = scoring.Rows(
    actual=ACTUAL, prediction=FORECAST, baselines={"seasonal_naive": NAIVE}, quantiles={0.1: LOW, 0.5: FORECAST, 0.9: HIGH}, active=ALL
)


@pytest.mark.parametrize("group", [0, 1, 2])
def test_by_group__is_the_sum_written_out(group: int) -> None:
    found = scoring.by_group(ROWS, GROUP, 4)[group]
    mine = group == GROUP
    error = (FORECAST - ACTUAL)[mine]
    assert found["rows"] == mine.sum()
    assert (found["mae"], found["rmse"], found["bias"]) == pytest.approx((np.abs(error).mean(), np.sqrt((error**2).mean()), error.mean()))
    there = mine & ~np.isnan(NAIVE)
    naive = np.abs(NAIVE - ACTUAL)[there].mean()
    skill = 1 - np.abs(FORECAST - ACTUAL)[there].mean() / naive
    beside = found["baselines"]["seasonal_naive"]
    assert beside["rows"] == there.sum()
    assert (beside["mae"], beside["skill"], found["skill"]) == pytest.approx((naive, skill, skill))


def test_by_group__of_quantiles_tells_coverage_and_pinball_loss() -> None:
    found = scoring.overall(ROWS)
    assert found["coverage"] == pytest.approx(np.mean((ACTUAL >= LOW) & (ACTUAL <= HIGH)))
    assert found["nominal_coverage"] == 0.8
    losses = []
    for level, forecast in ((0.1, LOW), (0.5, FORECAST), (0.9, HIGH)):
        losses.append(np.mean([level * (a - f) if a >= f else (1 - level) * (f - a) for a, f in zip(ACTUAL, forecast, strict=True)]))
    assert [one["name"] for one in found["quantiles"]] == ["quantile_P10", "quantile_P50", "quantile_P90"]
    assert [one["pinball"] for one in found["quantiles"]] == pytest.approx(losses)
    assert found["pinball"] == pytest.approx(np.mean(losses))
    assert found["quantiles"][2]["share_below"] == pytest.approx(np.mean(ACTUAL <= HIGH))


def test_by_group__rows_known_to_be_zero_say_nothing_about_quantiles() -> None:
    night = np.arange(N) < 80
    known = [np.where(night, 0.0, values) for values in (ACTUAL, FORECAST, LOW, HIGH)]
    rows = scoring.Rows(
        actual=known[0], prediction=known[1], baselines={}, quantiles={0.1: known[2], 0.5: known[1], 0.9: known[3]}, active=~night
    )
    day = scoring.overall(scoring.take(ROWS, ~night))
    found = scoring.overall(rows)
    assert (found["rows"], found["active_rows"]) == (N, N - 80)
    assert (found["coverage"], found["pinball"]) == (pytest.approx(day["coverage"]), pytest.approx(day["pinball"]))
    assert found["mae"] == pytest.approx(day["mae"] * (N - 80) / N)


def test_by_group__where_nothing_is_known_nothing_is_told() -> None:
    empty = scoring.by_group(ROWS, GROUP, 4)[3]
    assert (empty["rows"], empty["mae"], empty["skill"], empty["coverage"], empty["pinball"]) == (0, None, None, None, None)
    perfect = scoring.Rows(actual=ACTUAL, prediction=FORECAST, baselines={"seasonal_naive": ACTUAL}, quantiles={}, active=ALL)
    assert scoring.overall(perfect)["skill"] is None  # nothing to be better than


@pytest.mark.parametrize(
    ("horizon", "frequency", "width"),
    [
        ("1D", "15min", "1h"),
        ("1D", "1h", "1h"),
        ("2D", "15min", "1h"),
        ("7D", "1h", "6h"),
        ("6h", "15min", "15min"),
        ("1D", "10min", "1h"),
        ("7D", "1D", "1D"),
        ("60D", "1D", "7D"),
        ("1D", "1D", "1D"),
    ],
)
def test_lead_width__is_round_and_makes_few_steps(horizon: str, frequency: str, width: str) -> None:
    units = {"D": timedelta(days=1), "h": timedelta(hours=1), "n": timedelta(minutes=1)}

    def length(text: str) -> timedelta:
        return int(text.rstrip("Dhmin")) * units[text[-1]]

    assert scoring.lead_width(length(horizon), length(frequency)) == length(width)
