"""What a caller asks for, typed; and how plain dates become instants. No database here."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from mlsys import errors
from mlsys.records import Window

Day = date | datetime
MAX_STEPS = 10_000_000
# with lags and horizons around them, what 64 bits of nanoseconds hold
EARLIEST, LATEST = datetime(1700, 1, 1, tzinfo=UTC), datetime(2250, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    model_name: str
    start_date: Day
    end_date: Day
    file_path: str | None = None
    dataset: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    time_travel_date: Day | None = None
    promote: Literal["auto", "never"] = "auto"
    priority: int | None = None


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """``model_at`` and ``data_at`` are the two knobs of time travel: whose model, and which knowledge; ``time_travel_date`` turns both."""

    model_name: str
    start_date: Day
    end_date: Day
    file_path: str | None = None
    dataset: str | None = None
    model_version_id: str | None = None
    model_at: Day | None = None
    data_at: Day | None = None
    time_travel_date: Day | None = None
    priority: int | None = None


def window(start: Day, end: Day, *, timezone: str, frequency: timedelta) -> Window:
    """Half-open: a plain date as end includes that whole day. Raises Invalid when nothing, or more than MAX_STEPS, lies between."""
    found = span(start, end, timezone=timezone)
    if (found.end - found.start) / frequency > MAX_STEPS:
        raise errors.Invalid({"end_date": f"The window holds more than {MAX_STEPS:,} steps of {frequency}; ask for a shorter one."})
    return found


def span(start: Day, end: Day, *, timezone: str) -> Window:
    """window() without a limit to its length."""
    found = Window(start=instant(start, "start_date", timezone), end=instant(end, "end_date", timezone, whole_day=True))
    if found.end <= found.start:
        raise errors.Invalid({"end_date": "end_date must lie after start_date."})
    return found


def first_cut(request: TrainRequest | PredictRequest, *names: str, timezone: str) -> tuple[str, datetime] | None:
    """The first of these fields that the request gives, and the cut it means."""
    given = ((name, getattr(request, name, None)) for name in names)
    return next(((name, cut(day, name, timezone=timezone)) for name, day in given if day is not None), None)


def cut(day: Day, field: str, *, timezone: str) -> datetime:
    """The last instant that a cut in time includes: a plain date counts whole."""
    return instant(day, field, timezone, whole_day=True) - (timedelta(0) if isinstance(day, datetime) else timedelta(microseconds=1))


def instant(day: Day, field: str, timezone: str, *, whole_day: bool = False) -> datetime:
    """An instant as it is; of a plain date its first, or with ``whole_day`` the first after it."""
    found = None
    with contextlib.suppress(OverflowError):
        if not isinstance(day, datetime):
            day = datetime.combine(day + timedelta(days=whole_day), time(), tzinfo=ZoneInfo(timezone))
        found = day.astimezone(UTC)
    if found is None or not EARLIEST <= found <= LATEST:
        raise errors.Invalid({field: f"Give a date from {EARLIEST:%Y-%m-%d} to {LATEST:%Y-%m-%d}."})
    return found
