"""Which stretches of the weather are a dead feed, and which are a day without a cloud."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
import synthetic

from mlsys.pipelines import cleaning

QUARTER = timedelta(minutes=15)
LAYOUT = synthetic.layout(frequency=QUARTER, exogenous=("low", "high"))
DAY = 96
CALM = slice(20 * DAY + 8, 20 * DAY + 8 + 64)  # sixteen hours of the twenty-first day


def clouds(days: int = 60) -> pd.DataFrame:
    """Two columns that wander between 0.2 and 0.8, in steps of a few hundredths."""
    index = pd.date_range(synthetic.START, periods=days * DAY, freq=QUARTER, unit="us")
    steps = np.arange(len(index))
    frame = pd.DataFrame({"low": 0.5 + 0.3 * np.sin(steps / 17), "high": 0.5 + 0.3 * np.cos(steps / 23)}, index=index)
    frame.iloc[[5, 6]] = [[0.0, 0.0], [1.0, 1.0]]  # the ends of the range have been seen
    return frame


def with_calm(value: float, *, rows: slice = CALM, ramp: int) -> pd.DataFrame:
    """Both columns at ``value`` for a while, which they near and leave in ``ramp`` rows."""
    frame = clouds()
    for name in frame:
        column = frame[name].to_numpy(copy=True)
        before, after = rows.start - ramp - 1, rows.stop + ramp
        column[before : rows.start] = np.linspace(column[before], value, ramp + 2)[:-1]
        column[rows.stop : after + 1] = np.linspace(value, column[after], ramp + 2)[1:]
        column[rows] = value
        frame[name] = column
    return frame


def dead(frame: pd.DataFrame) -> np.ndarray:
    moving = cleaning.learn([frame], list(frame), LAYOUT)
    assert set(moving) == set(frame)
    cleaned, touched = cleaning.clean(frame, moving, LAYOUT)
    lost = cleaned.isna().any(axis=1).to_numpy()
    assert lost.sum() == touched
    return np.flatnonzero(lost)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_clean__a_clear_or_covered_sky_that_comes_and_goes_gently_is_weather(value: float) -> None:
    assert not len(dead(with_calm(value, ramp=20)))


def test_clean__a_covered_sky_is_one_although_a_row_somewhere_says_a_little_more() -> None:
    frame = with_calm(1.0, ramp=20)
    frame.iloc[6] = [1.000006, 1.000004]
    assert not len(dead(frame))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_clean__what_falls_there_at_once_is_a_dead_feed(value: float) -> None:
    assert dead(with_calm(value, ramp=0)).tolist() == list(range(CALM.start, CALM.stop))


def test_clean__what_comes_gently_but_leaves_at_once_is_a_dead_feed() -> None:
    frame = with_calm(0.0, ramp=20)
    frame.iloc[CALM.stop] = [0.6, 0.0]
    assert dead(frame).tolist() == list(range(CALM.start, CALM.stop))


def test_clean__no_sky_is_clear_for_two_days() -> None:
    rows = slice(20 * DAY, 22 * DAY)
    assert dead(with_calm(0.0, rows=rows, ramp=20)).tolist() == list(range(rows.start, rows.stop))


def test_clean__what_stands_still_within_the_range_is_dead_however_gently_it_came() -> None:
    assert dead(with_calm(0.45, ramp=20)).tolist() == list(range(CALM.start, CALM.stop))


def test_clean__a_sky_that_is_clear_to_the_end_of_what_is_known_is_weather_if_it_came_gently() -> None:
    gentle, sudden = (with_calm(0.0, ramp=ramp).iloc[: CALM.stop] for ramp in (20, 0))
    assert not len(dead(gentle))
    assert dead(sudden).tolist() == list(range(CALM.start, CALM.stop))
