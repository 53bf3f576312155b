"""The embedded PostgreSQL: one supervisor thread keeps a server for a home at hand, its own or another process's. No tables here.

The server is a child of the supervisor thread and is told to stop (SIGINT) by the kernel when that thread ends, however it ends: so
a killed mlsys leaves no server behind. How it is launched and where its files lie is in the ``embedded_*`` modules.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from urllib.parse import quote

from mlsys import errors
from mlsys.storage import binaries, embedded_account, embedded_server
from mlsys.storage.embedded_cluster import PORT, SUPERUSER, Cluster, unusable
from mlsys.supervision import Supervised

_log = logging.getLogger(__name__)
_TICK_SECONDS = 0.25
_RETRY_SECONDS = 0.05
_PATIENCE_SECONDS = 60
_PAUSE_SECONDS = 5


class EmbeddedPostgres:
    """PostgreSQL for the data under ``home``, on a unix socket only.

    Several processes may use one home: the first to ask owns the server, the others attach, and when the owner goes one of them takes
    over. ``url`` stays the same for all of that, so clients need only reconnect. ``folders`` are where the server's programs are looked
    for (default: every known place, see binaries.py).
    """

    def __init__(self, *, home: Path, log: Callable[[str], None] = _log.info, folders: Sequence[Path] | None = None) -> None:
        self._cluster = Cluster(home)
        self._log = log
        self._folders = folders
        self._server: embedded_server.Server | None = None
        self._outcome: Future[None] | None = None
        self.thread = Supervised(name="mlsys-postgres", run=self._supervise)

    @property
    def url(self) -> str:
        """SQLAlchemy URL; depends on ``home`` (and, where its path is long, the user) alone."""
        host = quote(str(self._cluster.sockets))
        return f"postgresql+psycopg2://{SUPERUSER}@/{embedded_server.DATABASE}?host={host}&port={PORT}"

    @property
    def data(self) -> Path:
        """PostgreSQL's data folder; a first start() makes it."""
        return self._cluster.data

    @property
    def pid(self) -> int | None:
        """Process id of the server in use, as its starter saw it; None while there is none."""
        return self._server.pid if self._server else None

    @property
    def owned(self) -> bool:
        """Whether the server in use is a child of this process."""
        return self._server is not None and self._server.owned

    def start(self) -> None:
        """Return when the server takes connections and database ``mlsys`` exists. Does nothing if already started.

        Raises DatabaseUnavailable or ConfigError, naming the remedies.
        """
        if self.thread.wanted:
            return
        outcome: Future[None] = Future()
        self._outcome = outcome
        self.thread.start()
        try:
            outcome.result()
        except BaseException:  # also Ctrl-C while waiting: then the thread is still at it
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server if this process started it, else let go of it. May be called again, or without a start."""
        self.thread.stop()

    def _supervise(self) -> None:
        """The supervisor thread: it must be the one that starts servers, and must live for as long as they shall."""
        outcome, self._outcome = self._outcome, None
        if outcome is not None and not self._first(outcome):
            return
        while not self.thread.stopping.wait(_TICK_SECONDS):
            self._keep()
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _first(self, outcome: Future[None]) -> bool:
        """A server for the caller of start(), who waits for the outcome."""
        try:
            self._server = self._obtain()
        except BaseException as exc:
            outcome.set_exception(exc)
            return False
        outcome.set_result(None)
        return True

    def _keep(self) -> None:
        if self._server is not None and self._server.alive():
            self._cluster.bound_log()
            return
        self._log("The embedded PostgreSQL is gone; getting one again.")
        self._server = None
        try:
            self._server = self._obtain()
        except Exception as exc:  # whatever it is, the next try may succeed, and without this thread there would be none
            self._log(f"No embedded PostgreSQL yet: {exc}")
            self.thread.stopping.wait(_PAUSE_SECONDS)

    def _obtain(self) -> embedded_server.Server | None:
        """A server that takes connections: another process's or a new one of ours. None only when asked to stop meanwhile."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self.thread.stopping.is_set():
            try:
                server = embedded_server.attach(self._cluster) or self._launch()
            except OSError as exc:
                raise unusable(self._cluster.home, exc) from exc
            if server is not None:
                self._log(f"PostgreSQL {'started' if server.owned else 'of another process joined'} (pid {server.pid}).")
                return server
            if time.monotonic() > deadline:
                raise errors.DatabaseUnavailable(
                    f"Another process holds the database under {self._cluster.home}, but no server answers at {self._cluster.sockets}. "
                    f"Stop that process (pid {self._cluster.postmaster_pid}), choose another home, or set database.url."
                )
            self.thread.stopping.wait(_RETRY_SECONDS)
        return None

    def _launch(self) -> embedded_server.ChildServer | None:
        """Start our own server, unless another one of this home still lives."""
        self._cluster.make_home()
        lock = self._cluster.try_lock()
        if lock is None:
            return None
        try:
            return None if self._cluster.in_use_without_lock() else self._launch_locked(lock)
        finally:
            os.close(lock)  # from here on only the server holds it

    def _launch_locked(self, lock: int) -> embedded_server.ChildServer | None:
        cluster = self._cluster
        programs = binaries.find(binaries.known_folders() if self._folders is None else self._folders, needed=cluster.major)
        account = embedded_account.choose(home=cluster.home, data=cluster.data)
        cluster.hand_over(account)
        cluster.make_socket_folder(account)
        if cluster.major is None:
            cluster.make_data(programs, account, lock=lock)
            self._log(f"Made a new PostgreSQL {programs.major} data folder under {cluster.home}.")
        elif account.uid != cluster.data.stat().st_uid:
            account.own_tree(cluster.data)
        cluster.clear_leftovers()
        return embedded_server.launch(cluster, programs, account, lock=lock, stopping=self.thread.stopping)
