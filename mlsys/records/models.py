"""Registered models, their versions and promotions, and what is told of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from mlsys.records.data import Blob, Json
from mlsys.records.judging import Validation

PromotionAction = Literal["promote", "demote", "auto"]


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
