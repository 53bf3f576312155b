"""Keeps replaced files until their last reader is done: a shared advisory lock per data set and generation of files.

One connection of its own per process carries them all, counted; the database drops them by itself when the process dies.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from mlsys.registry.datasets import reading_key
from mlsys.storage.database import translated

_TAKE = sa.text("SELECT pg_advisory_lock_shared(hashtextextended(:key, 0))")
_GIVE = sa.text("SELECT pg_advisory_unlock_shared(hashtextextended(:key, 0))")


class ReadingLocks:
    def __init__(self, *, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None
        self._held: Counter[str] = Counter()
        self._mutex = threading.Lock()

    @contextmanager
    def held(self, name: str, generation: int) -> Iterator[None]:
        """Raises DatabaseUnavailable. Enter it while the data set's own lock is held, so that the generation is the present one."""
        key = reading_key(name, generation)
        with self._mutex, translated():
            if not self._held[key]:
                self._execute(_TAKE, key)
            self._held[key] += 1
        try:
            yield
        finally:
            with self._mutex:
                self._held[key] -= 1
                if not self._held[key]:
                    del self._held[key]
                    self._release(key)

    def close(self) -> None:
        with self._mutex:
            self._drop()

    def _execute(self, statement: sa.TextClause, key: str) -> None:
        """On the connection there is; on a new one, with all other locks taken again, when that was lost."""
        if self._connection is not None:
            try:
                self._connection.execute(statement, {"key": key})
            except sa.exc.DBAPIError:
                self._drop()
            else:
                return
        self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        for each in {*self._held, key} if statement is _TAKE else self._held:
            self._connection.execute(_TAKE, {"key": each})

    def _release(self, key: str) -> None:
        try:
            self._execute(_GIVE, key)
        except sa.exc.DBAPIError:  # with its connection the lock is gone as well
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()  # closes it: a pooled connection would keep the locks
            self._connection.close()
            self._connection = None
