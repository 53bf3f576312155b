"""Shows that this process lives: a session advisory lock, held on a connection of its own. The database itself drops it when we die."""

import contextlib
import secrets
import threading

import sqlalchemy as sa

from mlsys.storage.database import translated

LOCK_CLASS = 0x6D6C7379  # "mlsy"


class Presence:
    """``owner`` (1..2**31-1) names this process in runs.owner for as long as its lock is held."""

    def __init__(self, *, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None
        self._lock = threading.Lock()
        self.owner = secrets.randbelow(2**31 - 1) + 1

    def assert_held(self) -> None:
        """Takes the lock, or makes sure that it is still held; takes it again after a lost connection. Raises DatabaseUnavailable."""
        with self._lock, translated():
            if self._connection is not None:
                try:
                    self._connection.execute(sa.text("SELECT 1"))
                    return
                except sa.exc.DBAPIError:
                    self._drop()
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.execute(sa.text("SELECT pg_advisory_lock(:class, :owner)"), {"class": LOCK_CLASS, "owner": self.owner})
            self._connection = connection

    def release(self) -> None:
        """Lets go at once: closing the connection alone would leave the lock until the server has noticed."""
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(sa.exc.DBAPIError):
                    self._connection.execute(sa.text("SELECT pg_advisory_unlock_all()"))
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()  # closes it: a pooled connection would keep the lock
            self._connection.close()
            self._connection = None
