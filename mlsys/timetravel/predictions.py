"""Reads kept predictions: of each timestamp the newest issue, now or as stored by an instant. Opens only files that can matter."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlsys.errors import DamagedArtifact
from mlsys.pipelines import names
from mlsys.records import PredictionSource, Window
from mlsys.registry.predictions import PredictionFile
from mlsys.registry.unit_of_work import Units
from mlsys.storage.artifacts import FolderBlobs
from mlsys.timetravel import files
from mlsys.timetravel.engine import Engine, literal, quoted

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

BATCH = 100_000
_FIRST = (names.TIMESTAMP, names.PREDICTION)
_LAST = (names.QUALITY, names.ISSUED_AT)
_TOLD = (names.CREATED_AT, names.MODEL_VERSION, names.RUN)  # by the manifest
_LINES = "_mlsys_lines"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Rows in order of timestamp, series key and issue. ``skip``: so many are left out first; ``known_at``: stored up to then.

    ``every_issue``: not only the newest one of each timestamp. A forecast issued after it was stored counts as issued when it was stored.
    """

    model_name: str
    known_at: datetime
    source: PredictionSource = "live"
    window: Window | None = None
    run_id: str | None = None
    model_version_id: str | None = None
    every_issue: bool = False
    skip: int = 0
    limit: int | None = None


class PredictionReader:
    """Each file's hash is checked before its first use in this process, and again whenever the file looks changed."""

    def __init__(self, *, units: Units, blobs: FolderBlobs, engine: Engine) -> None:
        self._units = units
        self._blobs = blobs
        self._engine = engine
        self._verified: dict[str, tuple[int, int, int]] = {}
        self._mutex = threading.Lock()

    @contextmanager
    def rows(self, asked: Asked) -> Iterator["pa.RecordBatchReader"]:
        """A stream of rows in the contract's shape. Raises DamagedArtifact."""
        import pyarrow as pa

        with self._units() as unit:
            found = unit.predictions.files(
                asked.model_name,
                asked.source,
                window=asked.window,
                known_at=asked.known_at,
                run_id=asked.run_id,
                model_version_id=asked.model_version_id,
            )
        if not found:
            yield pa.RecordBatchReader.from_batches(_empty(), [])
            return
        if asked.limit is not None:
            yield self._page(found, asked).to_reader()
            return
        with self._read(found, asked) as reader:
            yield reader

    def _page(self, found: Sequence[PredictionFile], asked: Asked) -> "pa.Table":
        """The first rows, from as few files as will do: those that begin before some instant tell all of what lies before it."""
        limit, ordered = asked.limit or 0, sorted(found, key=lambda file: file.first_timestamp)
        enough = asked.skip + limit
        while True:
            early, until = _early(ordered, enough)
            with self._read(early, asked, until=until) as reader:
                table = reader.read_all()
            if until is None or table.num_rows >= limit:
                return table
            enough *= 4  # many of those rows were superseded

    @contextmanager
    def _read(self, found: Sequence[PredictionFile], asked: Asked, *, until: datetime | None = None) -> Iterator["pa.RecordBatchReader"]:
        paths = [str(self._path(file.sha256)) for file in found]
        with self._engine.cursor() as cursor:
            cursor.register(_LINES, _lines(found, paths))
            text = _statement(cursor, asked, _keys(found), sorted(set(paths)), until)
            yield cursor.sql(text).to_arrow_reader(BATCH)

    def _path(self, sha256: str) -> Path:
        path = self._blobs.path(sha256)
        try:
            found = path.stat()
        except OSError:
            raise DamagedArtifact(f"The stored prediction {sha256[:12]} is missing.") from None
        looks = (found.st_ino, found.st_size, found.st_mtime_ns)
        if self._verified.get(sha256) != looks:
            self._blobs.verify(sha256)
            with self._mutex:
                self._verified[sha256] = looks
        return path


def _early(ordered: Sequence[PredictionFile], enough: int) -> tuple[Sequence[PredictionFile], datetime | None]:
    """The first files that hold ``enough`` rows, and when the next one begins; None: there is none."""
    count = 0
    for number, file in enumerate(ordered):
        if count >= enough and file.first_timestamp > ordered[number - 1].first_timestamp:
            return ordered[:number], file.first_timestamp
        count += file.rows
    return ordered, None


def _keys(found: Sequence[PredictionFile]) -> list[str]:
    """All series keys, those of the newest file first."""
    return list(dict.fromkeys(key for file in sorted(found, key=lambda file: -file.id) for key in file.series_key))


def _lines(found: Sequence[PredictionFile], paths: Sequence[str]) -> "pa.Table":
    import pyarrow as pa

    return pa.table(
        {
            "path": paths,
            "id": [file.id for file in found],
            names.CREATED_AT: pa.array([file.created_at for file in found], files.instant()),
            names.MODEL_VERSION: pa.array([file.model_version_id for file in found], pa.string()),
            names.RUN: [file.run_id for file in found],
        }
    )


def _empty() -> "pa.Schema":
    import pyarrow as pa

    types = {names.TIMESTAMP: files.instant(), names.PREDICTION: pa.float64(), names.QUALITY: pa.string(), names.ISSUED_AT: files.instant()}
    types |= {names.CREATED_AT: files.instant(), names.MODEL_VERSION: pa.string(), names.RUN: pa.string()}
    return pa.schema(types.items())


def _statement(cursor: "duckdb.DuckDBPyConnection", asked: Asked, keys: Sequence[str], paths: Sequence[str], until: datetime | None) -> str:
    """Of rows with the same key the newest issued_at, of those the newest created_at; the lines of the manifest say who and when."""
    scan = f"read_parquet([{', '.join(literal(path) for path in paths)}], union_by_name = true, filename = '_mlsys_path')"
    stored = cursor.sql(f"SELECT * FROM {scan} LIMIT 0").columns
    more = [name for name in stored if name not in (*_FIRST, *_LAST, *keys, "_mlsys_path")]
    quantiles = sorted((name for name in more if name.startswith(names.QUANTILE)), key=names.level)
    own = [
        f"p.{quoted(name)}"
        for name in (names.TIMESTAMP, *keys, names.PREDICTION, *quantiles, *(name for name in more if name not in quantiles), *_LAST)
    ]
    key = ", ".join(f"p.{quoted(name)}" for name in (names.TIMESTAMP, *keys))
    issue = f", least(p.{names.ISSUED_AT}, l.{names.CREATED_AT})" if asked.every_issue else ""
    newest = f"row_number() OVER (PARTITION BY {key}{issue} ORDER BY p.{names.ISSUED_AT} DESC, l.{names.CREATED_AT} DESC, l.id DESC) = 1"
    text = f"SELECT {', '.join([*own, *(f'l.{name}' for name in _TOLD)])} FROM {scan} AS p JOIN {_LINES} AS l ON p._mlsys_path = l.path"
    bounds = [(">=", asked.window.start), ("<", asked.window.end)] if asked.window else []
    bounds += [("<", until)] if until else []
    where = [f"p.{quoted(names.TIMESTAMP)} {sign} TIMESTAMPTZ '{at.astimezone(UTC).isoformat(sep=' ')}'" for sign, at in bounds]
    text += f" WHERE {' AND '.join(where)}" if where else ""
    limit = f" LIMIT {asked.limit}" if asked.limit is not None else ""
    return f"{text} QUALIFY {newest} ORDER BY {key}, p.{names.ISSUED_AT}, l.id{limit} OFFSET {asked.skip}"
