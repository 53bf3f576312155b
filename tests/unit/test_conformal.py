"""Calibration of quantiles: folds in blocks of time, shifts by bin, and nothing that is not a number."""

import numpy as np
import pandas as pd
import pytest

from mlsys.pipelines import calendar, conformal

LEVELS = (0.1, 0.9)


def instants(days: float, step: str) -> conformal.Ints:
    return calendar.instants(pd.date_range("2020-01-01", periods=int(pd.Timedelta(days=days) / pd.Timedelta(step)), freq=step, tz="UTC"))


@pytest.mark.parametrize(("days", "step"), [(365, "15min"), (1200, "1D"), (60, "1h"), (2, "5min"), (2000, "7D")])
def test_folds__are_blocks_of_time_and_all_of_a_like_size(days: float, step: str) -> None:
    fold = conformal.folds(instants(days, step))
    share = np.bincount(fold, minlength=conformal.FOLDS) / len(fold)
    assert len(share) == conformal.FOLDS
    assert share.min() > 0.5 / conformal.FOLDS
    assert np.mean(fold[1:] == fold[:-1]) > 0.7


def test_folds__a_year_is_dealt_out_in_weeks() -> None:
    days = calendar.instants(pd.date_range("2020-01-01", periods=364, freq="1D", tz="UTC"))
    assert conformal.folds(days)[:35].tolist() == [i // 7 % 4 for i in range(35)]


def test_learn__widens_where_the_errors_are_wide() -> None:
    chance = np.random.default_rng(0)
    height = chance.uniform(0, 100, 8000)
    raw = np.column_stack([height - 1, height + 1])
    target = height + chance.normal(0, 1 + height / 5)
    found = conformal.learn(raw[:4000], target[:4000], LEVELS).apply(raw[4000:])
    for low, high in ((0, 20), (40, 60), (80, 100)):
        here = (height[4000:] >= low) & (height[4000:] < high)
        below, above = (np.mean(target[4000:][here] < found[here, i]) for i in (0, 1))
        assert (below, above) == (pytest.approx(0.1, abs=0.05), pytest.approx(0.9, abs=0.05))


def test_learn__narrows_what_is_too_wide() -> None:
    target = np.random.default_rng(1).normal(size=2000)
    raw = np.tile([-10.0, 10.0], (2000, 1))
    found = conformal.learn(raw, target, LEVELS).apply(raw)
    assert found[0] == pytest.approx([-1.28, 1.28], abs=0.15)


def test_learn__few_rows_take_the_farthest_error() -> None:
    raw = np.zeros((5, 2))
    found = conformal.learn(raw, np.array([-2.0, -1.0, 0.0, 1.0, 3.0]), LEVELS)
    assert found.apply(raw)[0].tolist() == [-2.0, 3.0]


def test_learn__equal_heights_leave_no_bin_without_numbers() -> None:
    raw = np.zeros((4000, 2))
    raw[3900:] = 7.0
    found = conformal.learn(raw, raw[:, 0], LEVELS)
    assert np.isfinite(found.shift).all()
    assert np.isfinite(found.apply(np.array([[-5.0, -4.0], [99.0, 100.0]]))).all()


def test_calibration__crossing_quantiles_are_put_in_order() -> None:
    crossing = conformal.Calibration(edges=np.array([]), shift=np.array([[2.0, -2.0]]))
    assert crossing.apply(np.array([[0.0, 1.0]])).tolist() == [[-1.0, 2.0]]
