"""What was read and written: spans, columns, stored bytes, data sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

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
