"""A schedule, and where it stands."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mlsys.records.data import Json

ScheduleKind = Literal["train", "predict", "backfill", "backtest"]
Misfire = Literal["run_once", "skip", "run_all"]
Overlap = Literal["skip", "queue"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What runs when. ``window``: {start, end} as durations from the fire time; ``params``: what else the kind takes.

    ``misfire``: what becomes of firings that were missed; ``overlap``: of one that is due while a run of this schedule goes on.
    """

    name: str
    kind: ScheduleKind
    model_name: str
    cron: str
    timezone: str
    window: Json
    params: Json
    misfire: Misfire
    overlap: Overlap
    enabled: bool


@dataclass(frozen=True, kw_only=True)
class ScheduleState:
    """A schedule and where it stands. ``seq`` numbers its definition; ``next_fire_time`` None: it is paused, or never fires again."""

    schedule: Schedule
    seq: int
    declared: bool
    created_at: datetime
    updated_at: datetime
    next_fire_time: datetime | None
    last_fire_time: datetime | None
