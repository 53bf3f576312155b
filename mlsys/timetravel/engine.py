"""DuckDB, kept in bounds: one in-memory database a process, a memory limit, spilling to a folder, no reach beyond the store's folder."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsys import errors

if TYPE_CHECKING:
    import duckdb


class Engine:
    """``memory_mib`` bounds what all queries of this process use together; more goes below ``spill``. Opened at the first query."""

    def __init__(self, *, folder: Path, spill: Path, memory_mib: int, threads: int) -> None:
        self._folder = folder
        self._spills = spill
        self._spill = spill / str(os.getpid())
        self._memory_mib = memory_mib
        self._threads = threads
        self._lock = threading.Lock()
        self._database: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def cursor(self) -> Iterator["duckdb.DuckDBPyConnection"]:
        """A connection for one thread. Raises DamagedArtifact for a file that cannot be read, Unavailable when memory or disk run out."""
        import duckdb

        cursor = self._open().cursor()
        try:
            yield cursor
        except duckdb.OutOfMemoryException:
            text = "The query needs more memory than data.memory_mib and the disk allow; ask for a shorter window."
            raise errors.Unavailable(text, retry_after=30) from None
        except (duckdb.IOException, duckdb.InvalidInputException, duckdb.SerializationException) as error:
            raise errors.DamagedArtifact("A stored file of the data set cannot be read: it is missing or damaged.") from error
        finally:
            cursor.close()

    def close(self) -> None:
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None
            shutil.rmtree(self._spill, ignore_errors=True)

    def _open(self) -> "duckdb.DuckDBPyConnection":
        import duckdb

        with self._lock:
            if self._database is None:
                for left in self._spills.glob("*"):  # by processes that were killed
                    if not _alive(left.name):
                        shutil.rmtree(left, ignore_errors=True)
                for folder in (self._folder, self._spill):
                    folder.mkdir(parents=True, exist_ok=True)
                database = duckdb.connect(":memory:", config=self._settings())
                database.execute(f"SET allowed_directories = [{literal(f'{self._folder}/')}, {literal(f'{self._spill}/')}]")
                database.execute("SET TimeZone = 'UTC'")
                database.execute("SET enable_external_access = false")  # after the folders it still may reach
                database.execute("SET lock_configuration = true")
                self._database = database
            return self._database

    def _settings(self) -> dict[str, Any]:
        return {
            "memory_limit": f"{self._memory_mib}MiB",
            "threads": self._threads,
            "temp_directory": str(self._spill),
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        }


def _alive(process: str) -> bool:
    return process.isdigit() and Path(f"/proc/{process}").exists()


def literal(text: str) -> str:
    """A string of SQL."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'
