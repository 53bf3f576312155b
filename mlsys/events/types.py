"""The stable names of all events, an event as a record, and patterns over the names."""

import re
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


PATTERN = re.compile(r"\*|[a-z_]+\.\*|[a-z_]+\.[a-z_]+")
PATTERN_RULE = "an event type such as model.rejected, all of a kind as in model.*, or * for every event"


def matches(pattern: str, type: str) -> bool:
    """Whether ``pattern`` (see PATTERN_RULE) takes in events of this type."""
    return pattern in ("*", type) or (pattern.endswith(".*") and type.startswith(pattern[:-1]))
