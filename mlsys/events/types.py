"""The stable names of all events, and an event as a record."""

from dataclasses import dataclass
from datetime import datetime

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
