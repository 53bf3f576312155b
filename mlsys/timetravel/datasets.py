"""The use cases of data sets: declare one, append to it. What an append changes is told in the transaction that makes it count."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mlsys import errors
from mlsys.clock import rfc3339
from mlsys.events import types
from mlsys.records import Dataset, DatasetState, Window
from mlsys.registry.unit_of_work import UnitOfWork, Units
from mlsys.storage.artifacts import FolderBlobs
from mlsys.timetravel import arrivals, asof, declaring
from mlsys.timetravel.asof import Stored
from mlsys.timetravel.engine import Engine
from mlsys.timetravel.reader import Reader, Snapshot

if TYPE_CHECKING:
    from mlsys.timetravel.writing import Written

TOLD = 1000  # runs named in one event
MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Appended:
    """``first_created_at`` and ``created_at``: when the first and the last of the rows became known, one instant unless they said it
    themselves. ``revised``: keys that were there before, whether or not a value differs."""

    dataset: str
    file: int
    sha256: str
    rows: int
    start: datetime
    end: datetime
    first_created_at: datetime
    created_at: datetime
    revised: int


@dataclass(frozen=True, kw_only=True)
class _Revision:
    """Keys that were there before, and their first and last timestamp."""

    rows: int = 0
    start: datetime | None = None
    end: datetime | None = None

    def with_(self, other: "_Revision") -> "_Revision":
        starts = [start for start in (self.start, other.start) if start]
        ends = [end for end in (self.end, other.end) if end]
        return _Revision(rows=max(self.rows, other.rows), start=min(starts, default=None), end=max(ends, default=None))


class DatasetService:
    """Appends in three steps: the file is stored, what it revises is found, and one transaction stamps it and makes it count."""

    def __init__(
        self, *, units: Units, blobs: FolderBlobs, engine: Engine, reader: Reader, spool: Path, max_rows: int, wake: Callable[[], None]
    ) -> None:
        self._units = units
        self._blobs = blobs
        self._engine = engine
        self._reader = reader
        self._spool = spool
        self._max_rows = max_rows
        self._wake = wake

    def create(self, declaration: Dataset) -> tuple[DatasetState, bool]:
        """The data set, and whether it is new. Raises Conflict when one of this name is declared otherwise."""
        with self._units() as unit:
            unit.datasets.lock(declaration.name)
            present = unit.datasets.find(declaration.name)
            if present is not None and not _agree(present, declaration):
                raise errors.Conflict(f"There is a data set {declaration.name!r} with another declaration; choose another name.")
            if present is None:
                unit.datasets.define(declaration)
            state = unit.datasets.state(declaration.name)
            unit.commit()
            return state, present is None

    def append(self, name: str, body: IO[bytes], type: str, *, may_import: bool) -> Appended:
        """Adds the rows of a body: all of them, or none. ``may_import``: the caller may say created_at itself.

        Raises NotFound, Invalid naming the column, Malformed, TooLarge, Forbidden, Unavailable.
        """
        dataset = self._get(name)
        return self._add(arrivals.read(body, type, dataset, max_rows=self._max_rows, spool=self._spool), may_import=may_import)

    def append_tables(self, name: str, tables: Any, *, may_import: bool = True) -> Appended:
        """The same for an iterator of Arrow tables."""
        arrival = arrivals.of_tables(iter(tables), self._get(name), max_rows=self._max_rows)
        return self._add(arrival, may_import=may_import)

    def _get(self, name: str) -> Dataset:
        with self._units() as unit:
            return unit.datasets.get(name)

    def _add(self, arrival: arrivals.Arrival, *, may_import: bool) -> Appended:
        from mlsys.timetravel import writing

        dataset = arrival.dataset
        if arrival.given and not may_import:
            raise errors.Forbidden(f"Only an admin may say {dataset.created_at!r}; leave that column out, and rows are stamped on arrival.")
        wrong = declaring.faults(dataset)
        if wrong:
            raise errors.Invalid(wrong, "The rows' columns do not fit a data set.")
        written = writing.store(arrival.tables, dataset, given=arrival.given, blobs=self._blobs, engine=self._engine)
        # the end of a window is excluded, the last timestamp of a file is not
        within = Window(start=written.first, end=written.last + MOMENT)
        appended = self._count(dataset, written, within, None, _Revision())
        if appended is None:  # it may revise: that is looked into while others may append
            with self._reader.snapshot(dataset.name, window=within) as snapshot:
                revision = self._revision(dataset, written, snapshot.stored, within)
                appended = self._count(dataset, written, within, snapshot, revision)
        if appended is None:
            raise RuntimeError("an append that knows what it revises was not counted")
        self._wake()
        return appended

    def _count(
        self, dataset: Dataset, written: "Written", within: Window, snapshot: Snapshot | None, revision: _Revision
    ) -> Appended | None:
        """The transaction that makes the file count. None, and nothing is done, where there are files to compare it with first."""
        with self._units() as unit:
            unit.datasets.lock(dataset.name)
            self._settle(unit, dataset)
            seen = {one.file.id for one in snapshot.stored} if snapshot else set()
            later = [file for file in unit.datasets.files(dataset.name, window=within) if file.id not in seen]
            if later and snapshot is None:
                return None
            if later:
                revision = revision.with_(self._revision(dataset, written, [self._reader.stored(file) for file in later], within))
            stamp = unit.datasets.stamp(dataset.name)
            created = written.created or (stamp, stamp)
            if created[1] > stamp:
                text = f"It is {rfc3339(stamp)} and a row claims to be known only from {rfc3339(created[1])} on; correct it."
                raise errors.Invalid({dataset.created_at: text}, "The rows do not fit the data set.")
            self._blobs.path(written.blob.sha256).touch()  # it is not left over
            file = unit.datasets.add(
                dataset.name,
                sha256=written.blob.sha256,
                size=written.blob.size,
                rows=written.rows,
                first_timestamp=written.first,
                last_timestamp=written.last,
                first_created_at=created[0],
                last_created_at=created[1],
                stamped_at=None if written.created else stamp,
                kind="appended",
                added_at=stamp,
            )
            appended = Appended(
                dataset=dataset.name,
                file=file,
                sha256=written.blob.sha256,
                rows=written.rows,
                start=written.first,
                end=written.last,
                first_created_at=created[0],
                created_at=created[1],
                revised=revision.rows,
            )
            _tell(unit, appended, revision)
            unit.commit()
            return appended

    def _settle(self, unit: UnitOfWork, dataset: Dataset) -> None:
        """The first append decides the columns; another may have been faster, with other ones."""
        present = unit.datasets.get(dataset.name)
        if present.columns is None:
            unit.datasets.define(dataset)
        elif present.columns != dataset.columns:
            raise errors.Conflict(f"Another append has just decided the columns of {dataset.name!r} otherwise; look at them and try again.")

    def _revision(self, dataset: Dataset, written: "Written", old: Sequence[Stored], within: Window) -> _Revision:
        if not old:
            return _Revision()
        with self._engine.cursor() as cursor:
            query = asof.revised(dataset, self._blobs.path(written.blob.sha256), old, within)
            rows, start, end = cursor.sql(query).to_arrow_table().to_pylist()[0].values()
        return _Revision(rows=rows, start=start, end=end)


def _agree(present: Dataset, declaration: Dataset) -> bool:
    if declaration.columns is None:
        declaration = replace(declaration, columns=present.columns)
    return present == declaration


def _tell(unit: UnitOfWork, appended: Appended, revision: _Revision) -> None:
    """data.appended; or data.revised, with the runs and models that had used values of the revised stretch."""
    about: dict[str, Any] = {
        "dataset": appended.dataset,
        "file": appended.file,
        "rows": appended.rows,
        "start": rfc3339(appended.start),
        "end": rfc3339(appended.end),
        "first_created_at": rfc3339(appended.first_created_at),
        "created_at": rfc3339(appended.created_at),
    }
    if not revision.rows or revision.start is None or revision.end is None:
        unit.events.append(types.DATA_APPENDED, about)
        return
    runs = unit.runs.readers(appended.dataset, start=revision.start, end=revision.end, limit=TOLD + 1)
    affected = {
        "start": rfc3339(revision.start),
        "end": rfc3339(revision.end),
        "rows": revision.rows,
        "runs": [run["id"] for run in runs[:TOLD]],
        "model_versions": [run["model_version_id"] for run in runs[:TOLD] if run["model_version_id"]],
        "models": sorted({run["model_name"] for run in runs}),
        "more": len(runs) > TOLD,
    }
    unit.events.append(types.DATA_REVISED, about | {"affected": affected})
