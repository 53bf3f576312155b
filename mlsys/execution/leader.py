"""One leader among the processes on a database. Who needs there to be one asks ``epoch`` and guards each write with it.

The leader holds a session advisory lock, which the database drops as soon as its process dies, and renews a lease by the database's clock.
A process that stands still keeps its lock but not its lease: another then ends its session and leads in the next epoch. Whatever the first
still writes when it wakes is refused, since each write of a leader checks the epoch in its own transaction (UnitOfWork.guard).
"""

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from mlsys import errors
from mlsys.storage.database import translated
from mlsys.supervision import Supervised

_log = logging.getLogger(__name__)

_LOCK = {"class": 0x6D6C6472, "key": 1}  # "mldr"
_INTERVAL = 1.0
_SILENT = 30.0
LEASE_SECONDS = 5.0
_TAKE = sa.text("SELECT pg_try_advisory_lock(:class, :key)")
_BEGIN = sa.text(
    """
UPDATE leadership SET epoch = epoch + 1, expires_at = clock_timestamp() + make_interval(secs => :lease) WHERE role = 'leader'
RETURNING epoch
"""
)
_RENEW = sa.text(
    """
UPDATE leadership SET expires_at = clock_timestamp() + make_interval(secs => :lease) WHERE role = 'leader' AND epoch = :epoch
RETURNING epoch
"""
)
_STALE = sa.text(
    """
SELECT l.pid, s.epoch FROM pg_locks l CROSS JOIN leadership s
WHERE s.role = 'leader' AND s.expires_at < clock_timestamp() AND l.locktype = 'advisory' AND l.classid = :class AND l.objid = :key
    AND l.objsubid = 2 AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
)


class Leader:
    """``epoch``: the number under which this process leads, None while it does not. ``look``: called after each beat (Supervisor.look)."""

    def __init__(self, *, engine: sa.Engine, lease_seconds: float = LEASE_SECONDS, look: Callable[[], None] = lambda: None) -> None:
        self._engine = engine
        self._lease = lease_seconds
        self._look = look
        self._connection: sa.Connection | None = None
        self._suspect: Any = None
        self.thread = Supervised(name="leader", run=self._loop)
        self._beaten = time.monotonic()
        self._waits = False  # for the database, which tells of itself
        self.epoch: int | None = None

    def start(self) -> None:
        """Leads when it returns, if nobody else does."""
        self._patient_beat()
        self.thread.start()

    def stop(self) -> None:
        """Lets go at once, so that another can lead within a beat."""
        self.thread.stop()
        self._resign()

    def health(self) -> dict[str, Any]:
        age = time.monotonic() - self._beaten
        down = not self.thread.alive or (age > _SILENT and not self._waits)
        status = "down" if down else "ok" if age < 3 * _INTERVAL else "degraded"
        return {
            "status": status,
            "role": "standby" if self.epoch is None else "leader",
            "epoch": self.epoch,
            "seconds_since_beat": round(age, 1),
        }

    def beat(self) -> None:
        """Renews the lease, or tries to lead. Raises DatabaseUnavailable, and then leads no more."""
        try:
            with translated():
                connection = self._connected()
                if self.epoch is None:
                    self._contend(connection)
                elif self._ask(connection, _RENEW, epoch=self.epoch) is None:
                    _log.warning("another process leads now; this one stands by")
                    self._resign()
        except errors.MlsysError:
            self._resign()
            raise
        self._beaten, self._waits = time.monotonic(), False

    def _contend(self, connection: sa.Connection) -> None:
        if connection.execute(_TAKE, _LOCK).scalar_one():
            self.epoch = self._ask(connection, _BEGIN)
            _log.info("this process leads (epoch %s)", self.epoch)
            return
        stale = connection.execute(_STALE, _LOCK).one_or_none()
        # seen twice: between taking the lock and taking the lease a new leader looks stale as well
        if stale is not None and stale == self._suspect:
            _log.warning("the leader of epoch %s has let its lease run out: its session is ended", stale.epoch)
            connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": stale.pid})
        self._suspect = stale

    def _ask(self, connection: sa.Connection, statement: sa.TextClause, **values: Any) -> int | None:
        found: int | None = connection.execute(statement, {"lease": self._lease, **values}).scalar_one_or_none()
        return found

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._connection.detach()  # it takes no place in the pool for good
        return self._connection

    def _resign(self) -> None:
        self.epoch = None
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                connection.execute(sa.text("SELECT pg_advisory_unlock_all()"))  # closing alone takes effect when the server notices
            connection.invalidate()
            connection.close()

    def _loop(self) -> None:
        while not self.thread.stopping.wait(_INTERVAL):
            self._patient_beat()
            self._look()

    def _patient_beat(self) -> None:
        try:
            self.beat()
        except errors.Unavailable as error:
            self._waits = True
            _log.warning("leadership waits: %s", error.message)
        except Exception:
            _log.exception("leadership: will try again")
            self._resign()
