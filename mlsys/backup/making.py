"""Makes a backup, also while mlsys serves and trains: the database as it stood at one instant, then every blob that it names.

What the rows name is there, since blobs are stored before their rows, and nothing is removed while a backup holds its lock.
"""

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa

from mlsys import errors
from mlsys.backup import rows
from mlsys.backup.archive import Writer
from mlsys.backup.manifest import Manifest, Member, TableDump
from mlsys.clock import Clock, rfc3339
from mlsys.crashing import crash_point
from mlsys.registry import inventory
from mlsys.registry.inventory import InventoryRepository, Named
from mlsys.storage import durable
from mlsys.storage.artifacts import FolderBlobs
from mlsys.storage.database import translated
from mlsys.storage.migrate import Migrator

OnProgress = Callable[[int, int], None]
"""Called with the bytes done since the last call, and the bytes there are in all."""

SUFFIX = ".tar.zst"
_DONE = {"runs", "datasets"}
"""Tables that only people and schedules fill; models and schedules get there from config.yaml with any first command."""
_EMPTY = "There is not a single run or data set to back up. Wrong --home (MLSYS_HOME) or database.url? If it is meant: --allow-empty."


@dataclass(frozen=True, kw_only=True)
class Made:
    """A finished archive: ``id`` is the sha256 of its manifest, ``size`` that of the file in bytes."""

    file: str
    id: str
    size: int
    revision: str
    tables: int
    rows: int
    blobs: int
    files: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class _Snapshot:
    revision: str
    tables: tuple[TableDump, ...]
    sequences: tuple[Any, ...]
    named: Mapping[str, tuple[Named, ...]]


class Backup:
    """``stores``: where blobs lie, by the store's name; ``files``: what else belongs to the home, by the name it gets in the archive."""

    def __init__(
        self,
        *,
        engine: sa.Engine,
        migrator: Migrator,
        clock: Clock,
        stores: Mapping[str, FolderBlobs],
        files: Mapping[str, Path],
        version: str,
    ) -> None:
        self._engine = engine
        self._migrator = migrator
        self._clock = clock
        self._stores = stores
        self._files = files
        self._version = version

    def __call__(
        self, target: Path, *, secrets: bool = True, empty: bool = False, on_progress: OnProgress = lambda done, total: None
    ) -> Made:
        """Writes the archive ``target``, whole or not at all. ``secrets``: with the files of the home, which hold some.
        ``empty``: also where nothing was ever done, which else raises Conflict: it is most often the wrong home.

        Raises Invalid for a name that cannot be used, Unavailable (a full disk, say), DamagedArtifact for a stored file that is not
        what it should be.
        """
        _refuse(target)
        try:
            with tempfile.TemporaryFile(dir=target.parent) as spool, self._holding() as connection:
                found = self._snapshot(connection, spool)
                if not empty and not any(table.rows for table in found.tables if table.name in _DONE):
                    raise errors.Conflict(_EMPTY)
                files = {name: path.read_bytes() for name, path in self._files.items() if secrets and path.is_file()}
                manifest = self._manifest(found, files)
                crash_point("backup snapshot")
                with durable.growing(target) as file:
                    id = self._write(file, manifest, files, spool, on_progress)
                    crash_point("backup written")
        except OSError as error:
            raise errors.Unavailable(f"{target} cannot be written ({error.strerror or error}); no backup was made.") from error
        return Made(
            file=str(target),
            id=id,
            size=target.stat().st_size,
            revision=manifest.revision,
            tables=len(manifest.tables),
            rows=manifest.rows,
            blobs=sum(map(len, manifest.blobs.values())),
            files=sorted(files),
        )

    @contextmanager
    def _holding(self) -> Iterator[sa.Connection]:
        """A connection that keeps every blob where it is for as long as it is open."""
        with translated(), self._engine.connect() as connection:
            connection.detach()  # closed at the end, whatever happens: a pooled one would keep the lock
            connection.execute(sa.text("SET statement_timeout = 0"))
            connection.execute(sa.text("SELECT pg_advisory_lock_shared(:key)"), {"key": inventory.REMOVALS})
            connection.commit()
            try:
                yield connection
            finally:
                with contextlib.suppress(sa.exc.SQLAlchemyError):
                    connection.rollback()
                    connection.execute(sa.text("SELECT pg_advisory_unlock_all()"))

    def _snapshot(self, connection: sa.Connection, spool: IO[bytes]) -> _Snapshot:
        """One transaction, over before the first blob is read: it would hold back the removal of dead rows."""
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        revision = self._migrator.standing(connection)
        if revision != self._migrator.head:
            text = f"The database is at revision {revision or 'none'}, this mlsys at {self._migrator.head}. Run: mlsys db upgrade"
            raise errors.Conflict(text)
        tables = rows.dump(connection, spool)
        found = InventoryRepository(connection=connection)
        named = {"artifacts": (*found.artifacts(), *found.predictions()), "datasets": tuple(found.data_files())}
        sequences = rows.sequences(connection, [table.name for table in tables])
        connection.rollback()
        return _Snapshot(revision=revision, tables=tuple(tables), sequences=tuple(sequences), named=named)

    def _manifest(self, found: _Snapshot, files: Mapping[str, bytes]) -> Manifest:
        return Manifest(
            mlsys=self._version,
            created_at=rfc3339(self._clock.now()),
            revision=found.revision,
            tables=found.tables,
            sequences=found.sequences,
            files=tuple(Member(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest()) for name, data in files.items()),
            blobs={store: tuple(sorted({(one.sha256, one.size) for one in many})) for store, many in found.named.items()},
        )

    def _write(self, file: IO[bytes], manifest: Manifest, files: Mapping[str, bytes], spool: IO[bytes], on_progress: OnProgress) -> str:
        total = manifest.size
        writer = Writer(file, manifest, on_bytes=lambda count: on_progress(count, total))
        spool.seek(0)
        for _ in manifest.tables:
            writer.add(spool)
        for data in files.values():
            writer.add(io.BytesIO(data))
        for store, many in manifest.blobs.items():
            for sha256, _ in many:
                self._add(writer, self._stores[store], sha256)
        writer.close()
        return writer.sha256

    def _add(self, writer: Writer, store: FolderBlobs, sha256: str) -> None:
        try:
            with store.path(sha256).open("rb") as blob:
                writer.add(blob)
        except FileNotFoundError:
            raise errors.DamagedArtifact(
                f"The stored file {sha256[:12]} is missing; `mlsys verify` tells what it was. No backup was made."
            ) from None
        crash_point("backup blob")


def _refuse(target: Path) -> None:
    if not target.name.endswith(SUFFIX):
        raise errors.Invalid({"FILE": f"{target.name}: a backup is a tar file compressed with zstd; name it {target.name}{SUFFIX}."})
    if target.exists():
        raise errors.Invalid({"FILE": f"{target} is there already; choose another name."})
    if not target.parent.is_dir():
        raise errors.Invalid({"FILE": f"The folder {target.parent} does not exist (is its disk mounted?). Nothing was made."})
