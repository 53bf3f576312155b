"""Shows that this process lives: a session advisory lock, which the database drops when we die, and a beat by the database's clock.

The lock alone would do for a process that dies; one that stands still (SIGSTOP, a paused container) keeps its lock, but does not beat.
"""

import contextlib
import secrets
import threading
import time
from collections.abc import Sequence

import sqlalchemy as sa

from mlsys.storage.database import translated

LOCK_CLASS = 0x6D6C7379  # "mlsy"
BEATS = 5  # per lease
_RESTED_SECONDS = 1.0
# the first beat is durable: after a crash of the database a row that was never there would look like a process that never beat
_BEAT = sa.text(
    """
INSERT INTO processes (owner, beaten_at) VALUES (:owner, clock_timestamp())
ON CONFLICT (owner) DO UPDATE SET beaten_at = excluded.beaten_at
"""
)
_LOCKS = """
SELECT CAST(objid AS bigint) AS owner, pid FROM pg_locks WHERE locktype = 'advisory' AND classid = :class AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_ALIVE = sa.text(
    f"""
SELECT l.owner FROM ({_LOCKS}) l JOIN processes p USING (owner) WHERE p.beaten_at > clock_timestamp() - make_interval(secs => :lease)
"""
)
_END = sa.text(
    f"""
SELECT pg_terminate_backend(a.pid) FROM ({_LOCKS}) l JOIN processes p USING (owner)
JOIN pg_stat_activity a ON a.application_name = 'mlsys ' || l.owner AND a.datname = current_database()
WHERE p.beaten_at <= clock_timestamp() - make_interval(secs => :lease)
"""
)
_FORGET = sa.text("DELETE FROM processes WHERE beaten_at < clock_timestamp() - interval '1 day'")


def new_owner() -> int:
    return secrets.randbelow(2**31 - 1) + 1


def application_name(owner: int) -> str:
    """Of all sessions of a process, so that they can be ended together."""
    return f"mlsys {owner}"


class Presence:
    """``owner`` (1..2**31-1) names this process in run_state.owner for as long as its lock is held and it beats."""

    def __init__(self, *, engine: sa.Engine, owner: int, lease_seconds: float) -> None:
        self._engine = engine
        self._lease = lease_seconds
        self._connection: sa.Connection | None = None
        self._lock = threading.Lock()
        self._seen = 0.0
        self.owner = owner

    @property
    def beat_seconds(self) -> float:
        return self._lease / BEATS

    def assert_held(self) -> None:
        """Takes the lock, or makes sure that it is still held; takes it again after a lost connection. Raises DatabaseUnavailable."""
        if time.monotonic() - self._seen > _RESTED_SECONDS:
            self.beat()

    def beat(self) -> None:
        """The same, and says so to the others."""
        with self._lock, translated():
            if self._connection is not None:
                try:
                    self._connection.execute(_BEAT, {"owner": self.owner})
                    self._seen = time.monotonic()
                    return
                except sa.exc.DBAPIError:
                    self._drop()
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            try:
                self._connection.execute(sa.text("SELECT pg_advisory_lock(:class, :owner)"), {"class": LOCK_CLASS, "owner": self.owner})
                self._connection.execute(_BEAT, {"owner": self.owner})
                self._connection.execute(sa.text("SET synchronous_commit = off"))
            except sa.exc.DBAPIError:
                self._drop()
                raise
            self._seen = time.monotonic()

    def alive(self) -> Sequence[int]:
        """Owners whose lock is held and who have beaten within the lease. Ends the sessions of those who stand still."""
        with translated(), self._engine.begin() as connection:
            values = {"class": LOCK_CLASS, "lease": self._lease}
            connection.execute(_END, values)
            connection.execute(_FORGET)
            return list(connection.scalars(_ALIVE, values))

    def release(self) -> None:
        """Lets go at once: closing the connection alone would leave the lock until the server has noticed."""
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(sa.exc.DBAPIError):
                    self._connection.execute(sa.text("SELECT pg_advisory_unlock_all()"))
            self._drop()

    def _drop(self) -> None:
        self._seen = 0.0
        if self._connection is not None:
            self._connection.invalidate()  # closes it: a pooled connection would keep the lock
            self._connection.close()
            self._connection = None
