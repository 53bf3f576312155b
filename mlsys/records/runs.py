"""A run, its changes of state and its log."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mlsys.records.data import Json

RunKind = Literal["train", "predict", "backfill", "replay", "backtest"]
PredictionSource = Literal["live", "backfill", "replay", "backtest"]
RunStatus = Literal["queued", "running", "cancelling", "succeeded", "failed", "crashed", "cancelled", "skipped"]
TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "crashed", "cancelled", "skipped"})


@dataclass(frozen=True, kw_only=True)
class Run:
    id: str
    kind: str
    model_name: str
    status: str
    trigger: Json
    spec: Json
    attempt: int
    priority: int = 50
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: Json | None
    result: Json | None
    error: Json | None

    @property
    def finished(self) -> bool:
        return self.status in TERMINAL


@dataclass(frozen=True, kw_only=True)
class RunChange:
    """One row of a run's history."""

    status: str
    attempt: int
    at: datetime
    detail: Json


@dataclass(frozen=True, kw_only=True)
class LogLine:
    at: datetime
    attempt: int
    level: str
    message: str
