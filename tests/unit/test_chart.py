"""The coordinates of a chart: inside the drawing, on round ticks, whatever the numbers."""

from datetime import UTC, datetime, timedelta

import pytest

from mlsys.web import chart

START = datetime(2021, 3, 1, 5, 30, tzinfo=UTC)


def times(count: int, step: timedelta) -> list[datetime]:
    return [START + i * step for i in range(count)]


def test_line__first_and_last_touch_the_edges_and_larger_is_higher() -> None:
    drawn = chart.line(times(3, timedelta(hours=1)), [0.0, 10.0, 5.0])
    points = [tuple(map(int, point.split(","))) for point in drawn.points.split()]
    assert [x for x, _ in points] == [chart.LEFT, (chart.LEFT + chart.RIGHT) // 2, chart.RIGHT]
    assert [y for _, y in points] == [chart.BOTTOM, chart.TOP, (chart.BOTTOM + chart.TOP) // 2]
    assert [label for _, label in drawn.upward] == ["0", "5", "10"]


@pytest.mark.parametrize(
    "values",
    [[0.0], [7.0, 7.0], [-3.0, 12.0], [1e9, 1e9 + 1e-7], [1e-300, 2e-300], [-1e99, 1e99], [0.1, 0.30000000000000004], [1000.0, 3368.0]],
)
def test_line__any_finite_values_stay_inside_and_get_a_few_different_ticks(values: list[float]) -> None:
    drawn = chart.line(times(len(values), timedelta(minutes=15)), values)
    heights = [int(point.split(",")[1]) for point in drawn.points.split()]
    assert all(chart.TOP <= y <= chart.BOTTOM for y in heights)
    assert 2 <= len(drawn.upward) <= 8
    assert all(chart.TOP <= y <= chart.BOTTOM for y, _ in drawn.upward)


@pytest.mark.parametrize("step", [timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=1), timedelta(days=1), timedelta(days=31)])
def test_line__times_get_at_most_nine_round_marks(step: timedelta) -> None:
    drawn = chart.line(times(672, step), [float(i % 7) for i in range(672)])
    assert 3 <= len(drawn.across) <= 9
    assert all(chart.LEFT <= x <= chart.RIGHT for x, _ in drawn.across)
    assert len({label for _, label in drawn.across}) == len(drawn.across)


def test_line__marks_are_midnights_and_hours_of_utc() -> None:
    assert [label for _, label in chart.line(times(97, timedelta(minutes=15)), [0.0] * 97).across][:3] == ["06:00", "09:00", "12:00"]
    assert chart.line(times(672, timedelta(minutes=15)), [0.0] * 672).across[0][1] == "02 Mar"
