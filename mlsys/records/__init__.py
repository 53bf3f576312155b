"""Frozen records that travel between layers: what a run, a version, a promotion is. No behaviour beyond plain derivation, no I/O."""

from mlsys.records.data import Blob, DataColumn, DataFile, Dataset, DatasetState, DataUsed, Json, KeptRows, Layout, Output, Window
from mlsys.records.jobs import BacktestOutcome, BacktestSpec, Champion, Known, PredictOutcome, PredictSpec, TrainOutcome, TrainSpec
from mlsys.records.judging import Decision, Validation, Verdict
from mlsys.records.models import Collected, Episode, Explained, Freeable, Freed, Model, ModelVersion, Promotion, PromotionAction
from mlsys.records.runs import TERMINAL, LogLine, PredictionSource, Run, RunChange, RunKind, RunStatus
from mlsys.records.schedules import Misfire, Overlap, Schedule, ScheduleKind, ScheduleState

__all__ = [
    "TERMINAL",
    "BacktestOutcome",
    "BacktestSpec",
    "Blob",
    "Champion",
    "Collected",
    "DataColumn",
    "DataFile",
    "DataUsed",
    "Dataset",
    "DatasetState",
    "Decision",
    "Episode",
    "Explained",
    "Freeable",
    "Freed",
    "Json",
    "KeptRows",
    "Known",
    "Layout",
    "LogLine",
    "Misfire",
    "Model",
    "ModelVersion",
    "Output",
    "Overlap",
    "PredictOutcome",
    "PredictSpec",
    "PredictionSource",
    "Promotion",
    "PromotionAction",
    "Run",
    "RunChange",
    "RunKind",
    "RunStatus",
    "Schedule",
    "ScheduleKind",
    "ScheduleState",
    "TrainOutcome",
    "TrainSpec",
    "Validation",
    "Verdict",
    "Window",
]
