"""A range of time cut into steps, and what a backfill has to do for each of them. Looks things up; does and writes nothing."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from mlsys import errors
from mlsys.records import Window
from mlsys.registry.unit_of_work import UnitOfWork

MAX_STEPS = 10_000
_DAY = timedelta(days=1)
State = Literal["missing", "present", "no_model"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """The forecast issued at ``start`` for all up to ``end``, by the version that was in production at ``start``."""

    start: datetime
    end: datetime
    model_version_id: str | None
    state: State

    @property
    def window(self) -> Window:
        return Window(start=self.start, end=self.end)


def cut(window: Window, length: timedelta, *, timezone: str) -> list[Window]:
    """Steps of that length, the last one shorter if need be. Whole days are those of the time zone, whatever its clocks do.

    Raises Invalid for a length of nothing, and for more than MAX_STEPS.
    """
    if length <= timedelta(0):
        raise errors.Invalid({"step": "The step must be longer than zero."})
    if (window.end - window.start) / length > MAX_STEPS:
        raise errors.Invalid({"step": f"The range holds more than {MAX_STEPS:,} steps; ask for a shorter range or longer steps."})
    # arithmetic on local times is that of the calendar
    zone = ZoneInfo(timezone) if length % _DAY == timedelta(0) else UTC
    first, start = window.start.astimezone(zone), window.start
    found: list[Window] = []
    while start < window.end:
        end = min((first + (len(found) + 1) * length).astimezone(UTC), window.end)
        found.append(Window(start=start, end=end))
        start = end
    return found


def plan(unit: UnitOfWork, model_name: str, windows: list[Window]) -> list[Step]:
    """Each step as it stands now: its rows are kept already, or missing, or no version was in production then."""
    if not windows:
        return []
    present = unit.predictions.steps(model_name, Window(start=windows[0].start, end=windows[-1].end))
    versions = unit.promotions.production_at(model_name, [window.start for window in windows])
    found = []
    for window, version in zip(windows, versions, strict=True):
        kept = (window.start, window.end) in present
        state: State = "present" if kept else "missing" if version is not None else "no_model"
        found.append(Step(start=window.start, end=window.end, model_version_id=version, state=state))
    return found
