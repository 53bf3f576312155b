"""The stable names of all events, an event as a record, and patterns over the names."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlsys.clock import rfc3339
from mlsys.records import Json

RUN_QUEUED = "run.queued"
RUN_STARTED = "run.started"
RUN_SUCCEEDED = "run.succeeded"
RUN_FAILED = "run.failed"
RUN_CRASHED = "run.crashed"
RUN_CANCELLED = "run.cancelled"
MODEL_CREATED = "model.created"
MODEL_ACCEPTED = "model.accepted"
MODEL_REJECTED = "model.rejected"
MODEL_NOT_JUDGED = "model.not_judged"
MODEL_PROMOTED = "model.promoted"
MODEL_DEMOTED = "model.demoted"
PREDICTION_CREATED = "prediction.created"
DATA_APPENDED = "data.appended"
DATA_REVISED = "data.revised"
SCHEDULE_MISSED = "schedule.missed"
ACCURACY_DEGRADED = "accuracy.degraded"
WEBHOOK_DISABLED = "webhook.disabled"
NAMES = (
    *(RUN_QUEUED, RUN_STARTED, RUN_SUCCEEDED, RUN_FAILED, RUN_CRASHED, RUN_CANCELLED),
    *(MODEL_CREATED, MODEL_ACCEPTED, MODEL_REJECTED, MODEL_NOT_JUDGED, MODEL_PROMOTED, MODEL_DEMOTED),
    *(PREDICTION_CREATED, DATA_APPENDED, DATA_REVISED, ACCURACY_DEGRADED, SCHEDULE_MISSED, WEBHOOK_DISABLED),
)


@dataclass(frozen=True, kw_only=True)
class Event:
    type: str
    timestamp: datetime
    data: Json


@dataclass(frozen=True, kw_only=True)
class SequencedEvent(Event):
    """An event of the log. ``sequence``: 1, 2, 3 .. over all events without a gap; it never changes."""

    sequence: int

    def envelope(self) -> dict[str, Any]:
        """What goes out of the house, JSON-able."""
        return {"type": self.type, "timestamp": rfc3339(self.timestamp), "sequence": self.sequence, "data": dict(self.data)}


def matches(pattern: str, type: str) -> bool:
    """Whether ``pattern`` takes in events of this type: its name, all of a kind as in ``model.*``, or ``*``."""
    return pattern in ("*", type) or (pattern.endswith(".*") and type.startswith(pattern[:-1]))


def no_event(patterns: Iterable[str]) -> str | None:
    """What to tell a user whose patterns take in no event there is; None: they all do."""
    wrong = [pattern for pattern in patterns if not any(matches(pattern, name) for name in NAMES)]
    if not wrong:
        return None
    return f"No event is named {', '.join(wrong)}. Write *, a kind as in model.*, or names of {', '.join(NAMES)}."
