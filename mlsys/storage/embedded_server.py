"""One running server as seen from this process: a child of ours, or another process's that we use. Which one when is not known here."""

import contextlib
import select
import signal
import subprocess
import threading
import time
from typing import Any, Protocol

import psycopg2

from mlsys import errors
from mlsys.storage import binaries, launcher
from mlsys.storage.embedded_account import Account, environment
from mlsys.storage.embedded_cluster import PORT, SUPERUSER, Cluster, failed, unreachable

DATABASE = "mlsys"
_RECOVERY_SECONDS = 300  # the log to be replayed after a crash is bounded by max_wal_size, so this is plenty
_STOP_SECONDS = 30
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "jit": "off",
    "max_worker_processes": "2",
    "max_parallel_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "max_logical_replication_workers": "0",
    "max_wal_senders": "0",
    "max_replication_slots": "0",
    "autovacuum_max_workers": "1",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_checkpoints": "off",
    # a failed statement holds its values, and so does the detail of a violated constraint: they are not for a file
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_line_prefix": "%m [%p] ",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
_SINCE_18 = {"io_method": "sync", "autovacuum_worker_slots": "1"}


class Server(Protocol):
    """A server that took connections when this was made."""

    owned: bool
    pid: int | None

    def alive(self) -> bool: ...

    def stop(self) -> None:
        """Stop it if it is ours, else just let go of it."""


class ChildServer:
    """A server that this process started; it goes down by itself when the thread that started it ends."""

    owned = True

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid: int | None = process.pid
        self._process = process

    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        for number, seconds in ((signal.SIGINT, _STOP_SECONDS), (signal.SIGQUIT, 10), (signal.SIGKILL, None)):
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
                return


class AttachedServer:
    """A server that another process started. Its end is seen on an open connection, at no cost for either side."""

    owned = False

    def __init__(self, connection: Any, pid: int | None) -> None:
        self.pid = pid
        self._connection = connection
        self._poll = select.poll()  # not select(): that refuses descriptors above 1023
        self._poll.register(connection.fileno(), select.POLLIN)

    def alive(self) -> bool:
        if not self._poll.poll(0):
            return True
        try:
            self._connection.cursor().execute("SELECT 1")
        except psycopg2.Error:
            self._connection.close()
            return False
        return True

    def stop(self) -> None:
        self._connection.close()


def attach(cluster: Cluster) -> AttachedServer | None:
    """The server at the home's socket, if one answers and it really serves this home's data folder."""
    connection = connect(cluster)
    if connection is None:
        return None
    return AttachedServer(connection, cluster.postmaster_pid)


def launch(cluster: Cluster, programs: binaries.Binaries, account: Account, *, lock: int, stopping: threading.Event) -> ChildServer | None:
    """Start a server and wait until database ``mlsys`` takes connections; None if it should be tried again (or is no longer wanted).

    The calling thread must live as long as the server shall. Raises DatabaseUnavailable or ConfigError with what the server said.
    """
    cluster.bound_log()
    said_before = cluster.log.stat().st_size
    command = account.command(cluster.data, programs.program("postgres"), "-D", str(cluster.data), *_settings(cluster, programs.major))
    with cluster.log.open("ab") as log:
        # a session of its own, so that Ctrl-C in a terminal reaches mlsys alone and the server goes last
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(), start_new_session=True, pass_fds=(lock,)
        )
    child = ChildServer(process)
    try:
        if _ready(cluster, child, stopping):
            return child
    except BaseException:
        child.stop()
        raise
    if child.alive():
        child.stop()
        return None
    _explain_exit(cluster, process.returncode, said_before)
    return None


def connect(cluster: Cluster) -> Any | None:
    """An autocommit connection to a server that serves this home's data folder and has database ``mlsys``; None if there is none now."""
    try:
        connection = psycopg2.connect(
            host=str(cluster.sockets), port=PORT, user=SUPERUSER, dbname="postgres", connect_timeout=5, application_name="mlsys supervisor"
        )
    except psycopg2.OperationalError:
        return None
    try:
        connection.autocommit = True
        if _serves(connection, cluster):
            return connection
    except psycopg2.Error as exc:
        if not connection.closed:  # it still answers, so it is not just on its way down
            raise failed(cluster.home, "could not prepare its database", f"error: {exc}") from exc
    connection.close()
    return None


def _serves(connection: Any, cluster: Cluster) -> bool:
    cursor = connection.cursor()
    cursor.execute("SELECT system_identifier FROM pg_control_system()")
    if cursor.fetchone()[0] != cluster.identifier:
        return False
    cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
    if cursor.fetchone() is None:
        with contextlib.suppress(psycopg2.errors.DuplicateDatabase, psycopg2.errors.UniqueViolation):  # another process was first
            cursor.execute(f"CREATE DATABASE {DATABASE}")
    return True


def _ready(cluster: Cluster, child: ChildServer, stopping: threading.Event) -> bool:
    deadline = time.monotonic() + _RECOVERY_SECONDS
    while child.alive() and not stopping.is_set():
        connection = connect(cluster)
        if connection is not None:
            connection.close()
            return True
        if time.monotonic() > deadline:
            raise errors.DatabaseUnavailable(
                f"PostgreSQL under {cluster.home} took no connections for {_RECOVERY_SECONDS} s; its log is {cluster.log}."
            )
        time.sleep(0.01)
    return False


def _explain_exit(cluster: Cluster, code: int, said_before: int) -> None:
    with cluster.log.open("rb") as log:
        log.seek(said_before)
        said = log.read(65536).decode(errors="replace")
    if code == launcher.UNREACHABLE:
        raise unreachable(cluster.home, said.strip())
    if "pre-existing shared memory block" in said or code == -signal.SIGINT:
        return  # the last processes of a killed server are still on their way down, or somebody stopped it: worth another try
    raise failed(cluster.home, "could not start", said)


def _settings(cluster: Cluster, major: int) -> list[str]:
    folder = str(cluster.sockets).replace('"', '""')
    settings = {**_SETTINGS, **(_SINCE_18 if major >= 18 else {}), "unix_socket_directories": f'"{folder}"'}
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
