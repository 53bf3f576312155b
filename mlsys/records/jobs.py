"""What a job is asked, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mlsys.records.data import Blob, DataUsed, Json, KeptRows, Output, Window
from mlsys.records.judging import Verdict


@dataclass(frozen=True, kw_only=True)
class Champion:
    """A version that is or was in production, that a training is measured against: its twin is the same recipe fit only to ``twin_cutoff``
    (exclusive)."""

    model_version_id: str
    twin_sha256: str
    twin_cutoff: datetime


@dataclass(frozen=True, kw_only=True)
class Known:
    """An earlier version whose artifact tells what its training data was like."""

    model_version_id: str
    artifact_sha256: str


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """All that a training needs, as plain data. ``definition``: the model's, normalised, with the request's file and params merged in.

    ``champions``: the last versions in production, the present one first. ``known``: versions to hold the data against, newest first.
    """

    run_id: str
    model_name: str
    definition: Json
    window: Window
    known_at: datetime | None = None
    champions: tuple[Champion, ...] = ()
    known: tuple[Known, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PredictSpec:
    """All that a prediction needs. ``issued_at`` is the instant of the request; ``deliver`` False: kept, but not for the destination."""

    run_id: str
    model_name: str
    definition: Json
    window: Window
    model_version_id: str
    artifact_sha256: str
    issued_at: datetime
    known_at: datetime | None = None
    deliver: bool = True


@dataclass(frozen=True, kw_only=True)
class BacktestSpec:
    """All that a backtest needs. ``steps``: of each forecast the instant it is issued at (its origin), and how far it reaches.

    ``definition``: its horizon is that of the backtest. ``length`` of the training data before an origin (None: all there is);
    ``expanding``: the first origin's start holds for all. ``refit``: steps from one fit to the next (None: one fit). ``known_at``: the cut
    that the actuals are read with. ``production``: (model_version_id, sha256 of its artifact) to forecast beside.
    """

    run_id: str
    model_name: str
    definition: Json
    steps: tuple[Window, ...]
    length: timedelta | None
    expanding: bool = False
    refit: int | None = None
    known_at: datetime | None = None
    production: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class BacktestOutcome:
    """``result``: what the run tells of its scores, JSON-able; ``kept``: all rows forecast, with actuals and baselines as columns."""

    result: Json
    kept: KeptRows
    environment: Json


@dataclass(frozen=True, kw_only=True)
class TrainOutcome:
    """What a training computed; it decides nothing. ``evaluation`` is the raw material of the gate (validation.judge), JSON-able."""

    artifact: Blob
    twin: Blob
    twin_cutoff: datetime
    metrics: Mapping[str, float]
    evaluation: Json
    checks: tuple[Verdict, ...]
    data: DataUsed
    environment: Json = field(default_factory=dict)
    read: DataUsed | None = None
    """All rows read, those before and after the window included."""


@dataclass(frozen=True, kw_only=True)
class PredictOutcome:
    output: Output
    data: DataUsed
    kept: KeptRows
    checks: tuple[Verdict, ...] = ()
    environment: Json = field(default_factory=dict)
    read: DataUsed | None = None
