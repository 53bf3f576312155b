"""Restores a backup into a home that is empty. The archive is read to its end and checked before anything is written.

Blobs come first and are of no account by themselves; the rows come in one transaction, the schema's moves included, whose commit is the
instant at which the home is whole. Until then a mark keeps every other command out.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from mlsys import errors
from mlsys.backup import archive, rows
from mlsys.backup.archive import Content
from mlsys.backup.making import OnProgress
from mlsys.backup.manifest import Manifest
from mlsys.crashing import crash_point
from mlsys.storage import access_tables, durable, unfinished
from mlsys.storage.artifacts import FolderBlobs
from mlsys.storage.database import translated
from mlsys.storage.migrate import Migrator


@dataclass(frozen=True, kw_only=True)
class Restored:
    """``revision``: of the archive; ``to``: where its rows stand now. ``files``: of the home, under the names they were given."""

    file: str
    made_by: str
    made_at: str
    revision: str
    to: str
    tables: int
    rows: int
    blobs: int
    files: Sequence[str]


class Restore:
    """``stores`` as of Backup; ``files``: where each file of an archive goes; ``alive``: processes that work on the database."""

    def __init__(
        self,
        *,
        engine: sa.Engine,
        migrator: Migrator,
        home: Path,
        stores: Mapping[str, FolderBlobs],
        files: Mapping[str, Path],
        alive: Callable[[], Sequence[int]],
    ) -> None:
        self._engine = engine
        self._migrator = migrator
        self._home = home
        self._stores = stores
        self._files = files
        self._alive = alive

    def check(self, source: Path, *, on_progress: OnProgress = lambda done, total: None) -> Manifest:
        """Reads the whole archive; opens nothing else. Raises Invalid, BadArchive, and Conflict for one of a newer mlsys."""
        with archive.opened(source) as reader:
            manifest = reader.manifest
        if manifest.revision not in self._migrator.revisions:
            raise errors.Conflict(
                f"{source.name} was made by mlsys {manifest.mlsys} at revision {manifest.revision}, which this mlsys does not know "
                f"(it knows up to {self._migrator.head}). Install that one or a newer one."
            )
        unknown = [one.name for one in manifest.files if one.name not in self._files]
        if unknown:
            raise errors.BadArchive(f"{source.name} cannot be restored. {unknown[0]} is no file of a home.")
        return archive.checked(source, on_bytes=lambda count: on_progress(count, 2 * manifest.size))

    def __call__(
        self, source: Path, manifest: Manifest, *, replace: bool = False, on_progress: OnProgress = lambda done, total: None
    ) -> Restored:
        """What check() has found whole. ``replace``: also into a home that holds something, which is then gone.

        Raises Conflict for a home that holds something, or is in use; whatever it raises, what was there before is still there.
        """
        if self._at_work():
            raise errors.Conflict("mlsys is at work on this database: stop it first, and every command on it.")
        free = shutil.disk_usage(self._home).free
        if free < manifest.size:
            raise errors.Unavailable(f"The disk of {self._home} has {free:,} bytes free, and the archive holds {manifest.size:,}.")
        written: list[tuple[FolderBlobs, str]] = []
        with unfinished.restoring(self._home) as again:
            try:
                with translated(), self._engine.begin() as connection:
                    if not (replace or again):
                        self._refuse_filled(connection)
                    self._fill(connection, source, written, on_progress, 2 * manifest.size)
                    crash_point("restore before commit")
            except BaseException:
                self._undo(written)
                raise
            crash_point("restore committed")
            self._settle_files(manifest)
        return Restored(
            file=str(source),
            made_by=manifest.mlsys,
            made_at=manifest.created_at,
            revision=manifest.revision,
            to=self._migrator.head,
            tables=len(manifest.tables),
            rows=manifest.rows,
            blobs=sum(map(len, manifest.blobs.values())),
            files=[self._files[one.name].name for one in manifest.files],
        )

    def _at_work(self) -> bool:
        with translated(), self._engine.connect() as connection:
            known = "processes" in rows.ours(connection)
        return known and bool(self._alive())

    def _refuse_filled(self, connection: sa.Connection) -> None:
        held = [f"rows in {name}" for name in rows.filled(connection)]
        held += [f"stored {name}" for name, store in self._stores.items() if next(store.stored(), None)]
        held += [path.name for path in self._files.values() if path.exists()]
        if held:
            remedy = "Restore into a new home, or give --replace to lose what is there."
            raise errors.Conflict(f"The home {self._home} is not empty ({held[0]}). {remedy}")

    def _fill(
        self, connection: sa.Connection, source: Path, written: list[tuple[FolderBlobs, str]], on_progress: OnProgress, total: int
    ) -> None:
        with archive.opened(source, on_bytes=lambda count: on_progress(count, total)) as reader:
            self._migrator.start_over(connection, reader.manifest.revision)
            contents = reader.contents()
            rows.load(connection, reader.manifest, contents)
            crash_point("restore rows")
            for content in contents:
                self._take(content, written)
            if access_tables.sessions.name in rows.ours(connection):
                connection.execute(sa.delete(access_tables.sessions))  # a revocation since then has ended some: none comes back
        self._migrator.rise(connection)

    def _take(self, content: Content, written: list[tuple[FolderBlobs, str]]) -> None:
        place, _, name = content.member.name.partition("/")
        if place == "home":
            with durable.growing(_pending(self._files[name])) as file:
                file.writelines(content.parts())
            return
        store = self._stores[place]
        known = store.path(name).exists()
        with store.writing() as writer:
            for part in content.parts():
                writer.write(part)
        if not known:
            written.append((store, writer.sha256))

    def _settle_files(self, manifest: Manifest) -> None:
        for one in manifest.files:
            _pending(self._files[one.name]).replace(self._files[one.name])
        durable.sync_folder(self._home)

    def _undo(self, written: list[tuple[FolderBlobs, str]]) -> None:
        """The database has undone its part; the blobs would be no fault, but of no use either."""
        for store, sha256 in written:
            store.remove(sha256)
        for path in self._files.values():
            _pending(path).unlink(missing_ok=True)


def _pending(path: Path) -> Path:
    return path.with_name(f".{path.name}.restored")
