"""Reads data sets as known at an instant: lists the files that can matter, keeps them from removal, asks the engine, streams Arrow."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mlsys import errors
from mlsys.pipelines.base import Query
from mlsys.records import DataFile, Dataset, Layout, Window
from mlsys.registry.unit_of_work import Units
from mlsys.storage.artifacts import FolderBlobs
from mlsys.timetravel import asof, files
from mlsys.timetravel.asof import Ask, Stored
from mlsys.timetravel.engine import Engine
from mlsys.timetravel.locks import ReadingLocks

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

BATCH = 100_000


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A data set as it stood when it was listed, at ``at``: an answer as known at ``at`` or before will never change."""

    dataset: Dataset
    stored: Sequence[Stored]
    at: datetime


class Reader:
    """Each file's hash is checked before its first use in this process, and again whenever the file looks changed."""

    def __init__(self, *, units: Units, blobs: FolderBlobs, engine: Engine, locks: ReadingLocks) -> None:
        self._units = units
        self._blobs = blobs
        self._engine = engine
        self._locks = locks
        self._verified: dict[str, tuple[int, int, int]] = {}
        self._mutex = threading.Lock()

    @contextmanager
    def snapshot(
        self, name: str, *, window: Window | None = None, known_at: datetime | None = None, newest: int | None = None
    ) -> Iterator[Snapshot]:
        """The files stay until the block is left. Raises NotFound, DamagedArtifact."""
        with ExitStack() as kept:
            with self._units() as unit:
                unit.datasets.lock(name, shared=True)
                now = unit.datasets.standing(name)
                found = unit.datasets.files(name, window=window, known_at=known_at, newest=newest)
                kept.enter_context(self._locks.held(name, now.generation))
            yield Snapshot(dataset=now.dataset, stored=[self.stored(file) for file in found], at=now.at)

    @contextmanager
    def rows(self, name: str, ask: Ask, *, layout: Layout | None = None) -> Iterator["pa.RecordBatchReader"]:
        """A stream of the rows asked for. ``layout`` says the issue times of an ask with ``issued``. Raises NotFound, DamagedArtifact."""
        listed = self.snapshot(name, window=ask.window, known_at=ask.known_at, newest=ask.newest)
        with listed as snapshot, self.query(snapshot, ask, layout=layout) as reader:
            yield reader

    @contextmanager
    def query(self, snapshot: Snapshot, ask: Ask, *, layout: Layout | None = None) -> Iterator["pa.RecordBatchReader"]:
        import pyarrow as pa

        schema = schema_of(snapshot.dataset, ask.columns)
        if not snapshot.stored:
            yield pa.RecordBatchReader.from_batches(schema, [])
            return
        with self._engine.cursor() as cursor:
            if ask.issued is True and layout is not None:
                _register_issues(cursor, snapshot, layout)
            reader = cursor.sql(asof.statement(snapshot.dataset, snapshot.stored, ask)).to_arrow_reader(BATCH)
            yield pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in reader))

    def stored(self, file: DataFile) -> Stored:
        """A file whose bytes are those of the manifest. Raises DamagedArtifact."""
        path = self._blobs.path(file.sha256)
        try:
            found = path.stat()
        except OSError:
            raise errors.DamagedArtifact(f"The data file {file.sha256[:12]} is missing.") from None
        looks = (found.st_ino, found.st_size, found.st_mtime_ns)
        if self._verified.get(file.sha256) != looks:
            self._blobs.verify(file.sha256)
            with self._mutex:
                self._verified[file.sha256] = looks
        return Stored(file=file, path=path)

    def forget(self) -> None:
        """All files are verified anew: for a replay, which trusts nothing."""
        with self._mutex:
            self._verified.clear()


class JobPort:
    """pipelines.base.DataSets over a Reader."""

    def __init__(self, *, reader: Reader, units: Units, newest: int | None = None) -> None:
        self._reader = reader
        self._units = units
        self._newest = newest

    def until(self, newest: int) -> "JobPort":
        return JobPort(reader=self._reader, units=self._units, newest=newest)

    def schema(self, name: str) -> "pa.Schema":
        with self._units() as unit:
            dataset = unit.datasets.find(name)
        if dataset is None:
            raise errors.Invalid({"dataset": f"There is no data set {name!r}."})
        return schema_of(dataset, [column.name for column in files.columns_of(dataset)])

    def read(self, name: str, query: Query) -> "pa.Table":
        columns = query.columns if query.columns is not None else tuple(self.schema(name).names)
        ask = Ask(
            columns=tuple(dict.fromkeys(columns)),
            window=query.window,
            known_at=query.known_at,
            issued=_issued(query) if query.issued else False,
            newest=self._newest,
        )
        with self._reader.rows(name, ask, layout=query.layout) as reader:
            return reader.read_all()


def schema_of(dataset: Dataset, columns: Sequence[str]) -> "pa.Schema":
    """Of an answer with these columns."""
    import pyarrow as pa

    types = {column.name: files.arrow_type(column.type) for column in files.columns_of(dataset)} | {dataset.created_at: files.instant()}
    return pa.schema([(name, types[name]) for name in dict.fromkeys(columns)])


def _issued(query: Query) -> int | bool:
    from mlsys.pipelines import issue

    found = issue.parse(query.layout.issue or "")
    return True if found.lead is None else found.lead // timedelta(microseconds=1)


def _register_issues(cursor: "duckdb.DuckDBPyConnection", snapshot: Snapshot, layout: Layout) -> None:
    import pyarrow as pa

    from mlsys.pipelines import issue, issued

    first = min(one.file.first_timestamp for one in snapshot.stored)
    last = max(one.file.last_timestamp for one in snapshot.stored)
    starts, issues = issued.steps(Window(start=first, end=last), issue.parse(layout.issue or ""), timezone=layout.timezone)
    columns = {name: pa.array(values, pa.int64()).cast(files.instant()) for name, values in (("start", starts), ("issue", issues))}
    cursor.register(asof.LEADS, pa.table(columns))
