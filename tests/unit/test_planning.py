"""What becomes of firings that are due, by policy; and the window of each, over daylight saving."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mlsys.records import Schedule
from mlsys.scheduling import planning

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
GRACE = timedelta(minutes=5)
USUAL = Schedule(
    name="s",
    kind="predict",
    model_name="m",
    cron="* * * * *",
    timezone="Europe/Amsterdam",
    window={"start": "P1D", "end": "P2D"},
    params={},
    misfire="run_once",
    overlap="skip",
    enabled=True,
)


def outcomes(ages: list[int], *, misfire: str, overlap: str = "skip", **given: bool) -> list[str]:
    """Of firings that came so many minutes ago."""
    schedule = replace(USUAL, misfire=misfire, overlap=overlap)  # type: ignore[arg-type]
    times = [NOON - timedelta(minutes=age) for age in ages]
    return [firing.outcome for firing in planning.plan(schedule, times, now=NOON, grace=GRACE, **given)]


@pytest.mark.parametrize("misfire", ["run_once", "skip", "run_all"])
@pytest.mark.parametrize("overlap", ["skip", "queue"])
def test_plan__of_one_that_is_on_time_runs_it_unless_the_one_before_goes_on(misfire: str, overlap: str) -> None:
    assert outcomes([0], misfire=misfire, overlap=overlap) == ["run"]
    assert outcomes([5], misfire=misfire, overlap=overlap) == ["run"], "within the grace"
    assert outcomes([0], misfire=misfire, overlap=overlap, running=True) == ["overlap" if overlap == "skip" else "run"]


@pytest.mark.parametrize(
    ("misfire", "ages", "expected"),
    [
        ("run_once", [60], ["run"]),
        ("run_once", [60, 30, 0], ["coalesced", "coalesced", "run"]),
        ("run_once", [4, 3], ["coalesced", "run"]),
        ("skip", [60, 30], ["missed", "missed"]),
        ("skip", [60, 0], ["missed", "run"]),
        ("skip", [4, 3], ["run", "overlap"]),
        ("run_all", [60, 30, 0], ["run", "run", "run"]),
    ],
)
def test_plan__of_several_says_which_run_and_why_the_others_do_not(misfire: str, ages: list[int], expected: list[str]) -> None:
    assert outcomes(ages, misfire=misfire) == expected


def test_plan__of_a_round_that_is_not_the_last_leaves_the_run_to_the_last() -> None:
    assert outcomes([60, 30], misfire="run_once", more=True) == ["coalesced", "coalesced"]
    assert outcomes([60, 30], misfire="run_all", more=True) == ["run", "run"]


def test_plan__run_all_makes_up_for_what_was_missed_beside_a_run_that_goes_on() -> None:
    assert outcomes([60, 30, 0], misfire="run_all", running=True) == ["run", "run", "overlap"]
    assert outcomes([60], misfire="run_once", running=True) == ["overlap"]


def spans(start: str, end: str, fire_time: str, timezone: str = "Europe/Amsterdam") -> tuple[str, str]:
    found = planning.window(replace(USUAL, window={"start": start, "end": end}, timezone=timezone), datetime.fromisoformat(fire_time))
    return f"{found.start:%m-%dT%H:%M}", f"{found.end:%m-%dT%H:%M}"


def test_window__of_whole_days_is_midnight_to_midnight_where_the_clocks_change() -> None:
    assert spans("P1D", "P2D", "2026-03-27T23:00Z") == ("03-28T23:00", "03-29T22:00"), "a day of 23 hours"
    assert spans("P1D", "P2D", "2026-10-23T22:00Z") == ("10-24T22:00", "10-25T23:00"), "a day of 25 hours"
    assert spans("-P1D", "PT0S", "2026-03-29T22:00Z") == ("03-28T23:00", "03-29T22:00")


def test_window__of_hours_is_just_as_long_whatever_the_clocks_do() -> None:
    assert spans("-PT6H", "PT6H", "2026-03-29T01:00Z") == ("03-28T19:00", "03-29T07:00")
    assert spans("-P1DT6H", "P1D", "2026-03-29T22:00Z", "UTC") == ("03-28T16:00", "03-30T22:00")
