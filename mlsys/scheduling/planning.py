"""What becomes of the firings of one schedule that are due: pure decisions, from times to outcomes."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from mlsys.pipelines import durations
from mlsys.records import Schedule, Window

_length = functools.lru_cache(1024)(durations.parse_duration)  # many schedules have few windows
Outcome = Literal["run", "missed", "coalesced", "overlap", "stopped"]
REASONS = {
    "missed": "It was missed, and the schedule's misfire policy is skip.",
    "coalesced": "It was missed; a later firing runs for it, as the schedule's misfire policy run_once says.",
    "overlap": "A run of this schedule had not ended, and its overlap policy is skip.",
    "stopped": "The schedule was paused or deleted before this firing was recorded.",
}


@dataclass(frozen=True, kw_only=True)
class Firing:
    """``late``: it was missed, and what becomes of it is what the misfire policy says."""

    fire_time: datetime
    outcome: Outcome
    late: bool = False


def plan(
    schedule: Schedule, times: Sequence[datetime], *, now: datetime, grace: timedelta, more: bool = False, running: bool = False
) -> list[Firing]:
    """An outcome for each of ``times``, which have come, oldest first; one that came longer than ``grace`` ago was missed.

    ``more``: later ones have come too, and are left for the next round. ``running``: a run of the schedule has not ended.
    """
    firings = [Firing(fire_time=at, outcome="run", late=now - at > grace) for at in times]
    return _without_overlap(schedule, _caught_up(schedule, firings, more=more), running=running)


def _caught_up(schedule: Schedule, firings: list[Firing], *, more: bool) -> list[Firing]:
    """run_once: what has come due together runs once, for the last of it, be it late or not."""
    if schedule.misfire == "skip":
        return [replace(firing, outcome="missed") if firing.late else firing for firing in firings]
    if schedule.misfire == "run_once":
        last = [] if more else firings[-1:]
        return [replace(firing, outcome="coalesced") for firing in firings[: len(firings) - len(last)]] + last
    return firings


def _without_overlap(schedule: Schedule, firings: list[Firing], *, running: bool) -> list[Firing]:
    """Whoever asks for every missed run (run_all) wants them one after another: what is made up for overlaps with nothing."""
    if schedule.overlap == "queue":
        return firings
    everything = schedule.misfire == "run_all"
    found = []
    for firing in firings:
        if firing.outcome == "run" and running and not (everything and firing.late):
            firing = replace(firing, outcome="overlap")
        running = running or (firing.outcome == "run" and not everything)
        found.append(firing)
    return found


def window(schedule: Schedule, fire_time: datetime) -> Window:
    """The window of a run that fires then. Whole days are those of the schedule's time zone, whatever its clocks do."""
    return Window(
        start=_shifted(fire_time, schedule.window["start"], schedule.timezone),
        end=_shifted(fire_time, schedule.window["end"], schedule.timezone),
    )


def _shifted(instant: datetime, duration: str, timezone: str) -> datetime:
    """Raises OverflowError beyond the calendar."""
    length = _length(duration)
    days = timedelta(days=int(length / timedelta(days=1)))
    return (instant.astimezone(ZoneInfo(timezone)) + days).astimezone(UTC) + (length - days)  # local arithmetic is that of the calendar
