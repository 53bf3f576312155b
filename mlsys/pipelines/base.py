"""The component ABCs: the whole vocabulary of a pipeline. A component is one file that subclasses one of these.

Must not hold: any concrete component, any knowledge of config files, databases, web servers or runs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from mlsys import errors
from mlsys.records import Blob, Layout, Output, Verdict, Window

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    import pyarrow as pa

    from mlsys.pipelines.profile import Profile


BASE = "base"  # column of contributions


class BlobStore(Protocol):
    def put(self, data: bytes) -> Blob: ...
    def get(self, sha256: str) -> bytes:
        """The bytes, verified against their hash; raises DamagedArtifact."""
        ...


class DataFiles(Protocol):
    """Files below the configured data roots."""

    def resolve(self, path: str) -> "list[Path]":
        """The regular file, or the sorted data files of a folder, that ``path`` names; raises Invalid({"file_path": ...})."""
        ...

    def open_file(self, path: "Path") -> IO[bytes]:
        """Open one path that resolve() returned, checked again on the open file; raises Invalid({"file_path": ...})."""
        ...


class Reporter(Protocol):
    """How a job tells what it does. ``progress`` raises Cancelled when the run was asked to stop."""

    def progress(self, step: str, done: int, total: int) -> None: ...
    def log(self, message: str, *, level: Literal["info", "warning", "error"] = "info") -> None: ...


class DataSets(Protocol):
    """The append-only data sets, whose rows each say when they became known."""

    def schema(self, name: str) -> "pa.Schema":
        """Names and types of the columns that arrived, without created_at; raises Invalid({"dataset": ...}) for an unknown set."""
        ...

    def read(self, name: str, query: "Query") -> "pa.Table":
        """One row per series key and timestamp of the window, as known at ``query.known_at`` (None: now), in any order.

        ``query.issued``: each row as known at its own issue time as well (``query.layout.issue``).
        """
        ...

    def until(self, newest: int) -> Self:
        """The data set as it was when the file of this id was its newest: without what arrived later, whatever its created_at says."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The outside world of a job. ``connections`` maps names to database URLs (``data.connections``); ``outputs``: where predictions go."""

    blobs: BlobStore
    files: DataFiles
    outputs: "Path"
    reporter: Reporter
    connections: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    datasets: DataSets | None = None


class Component(ABC):
    """Built from config as ``{type: NAME, option: value ...}``; options are the keyword arguments of ``__init__``.

    NAME comes from an entry point in the group ``mlsys.components``, named ``<kind>.NAME`` (or plain ``NAME``).
    """

    kind: ClassVar[str]

    @classmethod
    def create(cls, options: Mapping[str, Any], *, ports: Ports) -> Self:
        """Factory. Override when a component needs something from ``ports``; options are already checked by name."""
        return cls(**options)


@dataclass(frozen=True, kw_only=True)
class Query:
    """What to read: ``columns``, ``window`` None for all; ``known_at`` keeps rows with created_at <= it, newest per (key, timestamp).

    ``issued``: and of each row only what was known at its own issue time (``layout.issue``). Only sources with ``cuts`` are asked for it.
    """

    layout: Layout
    columns: tuple[str, ...] | None = None
    window: Window | None = None
    known_at: datetime | None = None
    issued: bool = False


class DataSource(Component):
    """Rows by time. A user's own source needs only get_dataframe(); built-in ones override read() to push the query down.

    ``cuts``: read() itself keeps to ``known_at`` and ``issued`` and answers one row per key and timestamp.
    """

    kind: ClassVar[str] = "source"
    cuts: ClassVar[bool] = False

    @abstractmethod
    def get_dataframe(self) -> "pd.DataFrame":
        """All rows, one column per name in the layout (an index with the timestamp's name is accepted)."""

    def schema(self) -> "pa.Schema":
        """Column names and types, without reading rows where the source can."""
        from mlsys.pipelines import frames

        return frames.schema(self.get_dataframe())

    def read(self, query: Query) -> "pa.Table":
        """Columns and window of the query, in any order. Not yet cut to ``known_at``: reading.read() does that, but for ``cuts``."""
        from mlsys.pipelines import reading

        return reading.select(self.get_dataframe(), query)


@dataclass(frozen=True, kw_only=True)
class CheckContext:
    """What a check may look at beside the rows of the window.

    ``series``: each series, from the first row that a feature reads, by unique sorted UTC timestamp, without targets that were found
    impossible; ``cleaned``: the same without dead exogenous stretches. ``idle``: which timestamps a feature knows to be 0 (a solar plant at
    night). ``holdout``: the days that a training is judged on. ``profile``: the window's days in numbers; ``earlier``: as earlier versions
    saw them, newest first.
    ``dropped``: columns of the source that are new since the version in use.
    """

    layout: Layout
    window: Window
    purpose: Literal["train", "predict"]
    series: "Mapping[tuple[Any, ...], pd.DataFrame]" = field(default_factory=dict)
    cleaned: "Mapping[tuple[Any, ...], pd.DataFrame]" = field(default_factory=dict)
    idle: "Callable[[pd.DatetimeIndex], npt.NDArray[np.bool_]] | None" = None
    holdout: Window | None = None
    profile: "Profile | None" = None
    earlier: "tuple[Profile, ...]" = ()
    dropped: tuple[str, ...] = ()


class DataCheck(Component):
    """Looks at the rows of a window before they are used, and gives one verdict or several.

    A failed one stops the run with ``error`` if it is blocking and no ``ground``; a failed ``ground`` keeps the champion. ``stage``:
    ``rows`` as read; then ``target``, the place to take impossible targets out; then ``series``, which needs both repaired.
    """

    kind: ClassVar[str] = "check"
    error: ClassVar[type[errors.BadData]] = errors.BadData
    stage: ClassVar[Literal["rows", "target", "series"]] = "rows"
    purposes: ClassVar[tuple[str, ...]] = ("train", "predict")

    @abstractmethod
    def check(self, frame: "pd.DataFrame", context: CheckContext) -> Verdict | tuple[Verdict, ...]: ...

    def doubtful(self, series: "pd.DataFrame", context: CheckContext) -> "npt.NDArray[np.bool_] | None":
        """Rows of one series whose target is not to be believed: not trained on, not scored, not seen by any feature. Stage ``target``."""
        return None


class Feature(Component):
    """Columns computed by timestamp from one series, using for each row only what was known at its issue time.

    ``lookback`` and ``lookahead`` say how much before and after a row it reads, so that a prediction reads just enough.
    """

    kind: ClassVar[str] = "feature"
    parameters: "ClassVar[Mapping[str, Parameter]]" = {}

    @abstractmethod
    def lookback(self, layout: Layout) -> timedelta: ...

    def lookahead(self, layout: Layout) -> timedelta:
        return timedelta(0)

    def known(self, layout: Layout) -> Mapping[str, timedelta]:
        """Availability: how long before a row's own time each thing is known that it looks at, by the option that names it. Less than the
        horizon is refused when the model is defined. What is always known, or known by the issue time, need not be named."""
        return {}

    def columns(self) -> Mapping[str, str]:
        """Columns of the data that its options name, by the option: what a source must have."""
        return {}

    def settle(self, frame: "pd.DataFrame", layout: Layout) -> dict[str, Any]:
        """Options read off the training data once and stored with the model, so that a forecast computes the same columns the same way."""
        return {}

    def active(self, rows: "pd.DatetimeIndex", layout: Layout) -> "npt.NDArray[np.bool_] | None":
        """False for rows known to be 0 (a solar plant at night): not trained on, forecast as 0. None: no opinion."""
        return None

    def source(self, column: str, layout: Layout) -> str | None:
        """What one of its columns stems from, in the user's words: a column of the data, say. Explanations sum over it. None: itself."""
        return None

    @abstractmethod
    def compute(self, series: "pd.DataFrame", rows: "pd.DatetimeIndex", issued: "pd.DatetimeIndex", layout: Layout) -> "pd.DataFrame":
        """Feature columns for ``rows`` (UTC). ``series``: the whole series by unique sorted UTC timestamp, target and exogenous as columns;
        ``issued`` is each row's issue time: a target value may be used for a row only if its timestamp is before that row's issue time.
        Names of columns that are in the target's unit begin with ``target_``: several series are learnt each in its own."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One hyper-parameter that a request may set: its type and inclusive range, or the choices. ``log``: searched by its logarithm."""

    type: type
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    log: bool = False


class FittedModel(ABC):
    """A trained model that can be stored as JSON-able data (LightGBM's trees as text): no pickle.

    ``extrapolates``: its forecast starts from the last known value, and may leave the range seen in training by as much as that allows.
    """

    @property
    def extrapolates(self) -> bool:
        return False

    @abstractmethod
    def predict(self, features: "pd.DataFrame") -> "pd.DataFrame":
        """Columns ``prediction`` and ``quantile_P..`` (as many as asked for), one row per row of features."""

    def gain(self) -> "pd.Series[float] | None":
        """By column of the features how much its splits lowered the training loss, in all. None: the model has no such thing."""
        return None

    def contributions(self, features: "pd.DataFrame") -> "pd.DataFrame | None":
        """What each column of the features adds to each row's prediction, in the target's unit: the same columns, then BASE, what is
        predicted without knowing any; each row sums to ``prediction``. None: the model cannot tell."""
        return None

    @abstractmethod
    def to_data(self) -> dict[str, Any]: ...

    @classmethod
    @abstractmethod
    def from_data(cls, data: Mapping[str, Any]) -> "FittedModel": ...


class Model(Component):
    """A recipe for a FittedModel. One whose constructor takes ``quantiles`` (levels, ascending) forecasts them.

    ``search``: the parameters that tuning tries, and from where to where; empty: there is nothing to tune.
    """

    kind: ClassVar[str] = "model"
    parameters: ClassVar[Mapping[str, Parameter]] = {}
    search: ClassVar[Mapping[str, Parameter]] = {}
    needs: ClassVar[tuple[str, ...]] = ()  # features that may not be switched off

    def settle(self, features: "pd.DataFrame", target: "pd.Series[float]", *, reporter: Reporter, threads: int = 1) -> dict[str, Any]:
        """Hyper-parameters that are decided on training rows, once, for all the fits of a training; recorded with the version."""
        return {}

    @abstractmethod
    def fit(self, features: "pd.DataFrame", target: "pd.Series[float]", *, reporter: Reporter, threads: int = 1) -> FittedModel:
        """Deterministic: the same input gives the same model, whatever ``threads``."""

    @abstractmethod
    def load(self, data: Mapping[str, Any]) -> FittedModel:
        """The inverse of FittedModel.to_data()."""


class Destination(Component):
    """Where predictions go."""

    kind: ClassVar[str] = "destination"

    @abstractmethod
    def write(self, table: "pa.Table", *, model_name: str, run_id: str) -> Output:
        """All rows or none; writing the same run again replaces it."""
