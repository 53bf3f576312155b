"""Frozen records that travel between layers: what a run, a version, a promotion is. No behaviour beyond plain derivation, no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal

RunKind = Literal["train", "predict", "backfill", "replay", "backtest"]
PredictionSource = Literal["live", "backfill", "replay", "backtest"]
ScheduleKind = Literal["train", "predict", "backfill", "backtest"]
Misfire = Literal["run_once", "skip", "run_all"]
Overlap = Literal["skip", "queue"]
RunStatus = Literal["queued", "running", "cancelling", "succeeded", "failed", "crashed", "cancelled", "skipped"]
TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "crashed", "cancelled", "skipped"})
Decision = Literal["accepted", "rejected", "cannot_judge"]
PromotionAction = Literal["promote", "demote", "auto"]
Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Half-open span of time, both ends aware UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the columns of a data source mean. ``exogenous=None``: every other numeric column."""

    timestamp: str
    target: str
    exogenous: tuple[str, ...] | None = None
    series_key: tuple[str, ...] = ()
    frequency: timedelta = timedelta(minutes=15)
    timezone: str = "UTC"
    horizon: timedelta = timedelta(days=1)
    created_at: str | None = None
    issue: str | None = None
    """When a row's forecast was issued (pipelines/issue.py): its exogenous values are those known then. None: no such cut."""


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Stored bytes: ``sha256`` (hex) is the identity, ``uri`` where they lie."""

    sha256: str
    size: int
    uri: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Outcome of one check: which value was held against which bound. ``blocking``: a failure stops the run or the promotion.

    ``ground``: a failure means that nothing can be judged; the run goes on, and the champion stays. ``data``: the rows that the value rests
    on, as {start, end (exclusive), days, rows}.
    """

    name: str
    passed: bool
    value: float | str | None = None
    threshold: float | str | None = None
    detail: str = ""
    blocking: bool = True
    ground: bool = False
    data: Json | None = None


@dataclass(frozen=True, kw_only=True)
class Validation:
    decision: Decision
    checks: tuple[Verdict, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataUsed:
    """The rows a run read: count, first and last timestamp, sha256 of their canonical Arrow form."""

    rows: int
    start: datetime | None
    end: datetime | None
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Output:
    """A written prediction."""

    uri: str
    rows: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class KeptRows:
    """Rows of a prediction as they are kept: the stored file and what it spans (all ends included)."""

    blob: Blob
    rows: int
    series_key: tuple[str, ...]
    first_timestamp: datetime
    last_timestamp: datetime
    first_issued_at: datetime
    last_issued_at: datetime


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


@dataclass(frozen=True, kw_only=True)
class Model:
    """A registered model: its newest definition, and the version in production."""

    name: str
    definition: Json
    created_at: datetime
    updated_at: datetime
    production: str | None
    versions: int


@dataclass(frozen=True, kw_only=True)
class Freed:
    """A version's stored bytes were given up: when, and by which rule."""

    at: datetime
    policy: str


@dataclass(frozen=True, kw_only=True)
class Freeable:
    """A version whose stored bytes may go."""

    model_version_id: str
    model_name: str
    version: int
    artifact: Blob
    twin: Blob

    @property
    def size(self) -> int:
        """Bytes of its model and its twin."""
        return sum({blob.sha256: blob.size for blob in (self.artifact, self.twin)}.values())


@dataclass(kw_only=True)
class Collected:
    """What retention gave up, or would. ``bytes`` of the stored ``files``; ``waiting_bytes``: named by no row, too young to be removed."""

    versions: list[Freeable] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    waiting_bytes: int = 0
    temporary_files: int = 0
    run_log_lines: int = 0
    deliveries: int = 0


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    model_version_id: str
    model_name: str
    version: int
    run_id: str
    created_at: datetime
    artifact: Blob
    twin: Blob
    twin_cutoff: datetime
    spec: Json
    metrics: Mapping[str, float]
    validation: Validation
    status: str
    freed: Freed | None = None


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Why a version forecasts what it does. ``prediction``: what adds up to one forecast, where one was asked for.

    ``permutation``: on which rows the importances by permutation were measured; None: ``note`` says why there are none.
    """

    version: ModelVersion
    importances: Sequence[Json]
    features: Sequence[Json]
    permutation: Json | None
    note: str
    prediction: Json | None = None


@dataclass(frozen=True, kw_only=True)
class Episode:
    """An entry of the log of degraded accuracy. ``state``: degraded (by the days from ``first_day`` to ``last_day``) or recovered."""

    model_name: str
    state: str
    first_day: date
    last_day: date
    detail: Json
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Promotion:
    sequence: int
    model_name: str
    model_version_id: str
    previous_model_version_id: str | None
    action: str
    actor: str
    reason: str | None
    created_at: datetime
    hash: str
    previous_hash: str | None


@dataclass(frozen=True, kw_only=True)
class DataColumn:
    """A column of a data set. ``type``: timestamp, number, integer, text or boolean."""

    name: str
    type: str


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """An append-only data set. ``columns`` None: the first append decides them; ``created_at``: the name under which rows tell theirs."""

    name: str
    timestamp: str
    series_key: tuple[str, ...] = ()
    created_at: str = "created_at"
    timezone: str = "UTC"
    columns: tuple[DataColumn, ...] | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """What a row is told apart by, and the order of rows."""
        return (self.timestamp, *self.series_key)


@dataclass(frozen=True, kw_only=True)
class DatasetState:
    """A data set and what it holds: ``rows`` and ``size`` of its present files, corrections included; instants None while it is empty."""

    dataset: Dataset
    defined_at: datetime
    rows: int
    files: int
    size: int
    start: datetime | None
    end: datetime | None
    last_append_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A line of a data set's manifest. ``stamped_at``: created_at of all its rows; None: the file has a column. Both ends included."""

    id: int
    sha256: str
    size: int
    rows: int
    first_timestamp: datetime
    last_timestamp: datetime
    first_created_at: datetime
    last_created_at: datetime
    stamped_at: datetime | None
    kind: str
    added_at: datetime


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
