"""The files of the embedded server under one home: data folder, lock, log, socket folder; and making them. No process is watched here."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import struct
import subprocess
import tempfile
from pathlib import Path

from mlsys import errors
from mlsys.storage import binaries, durable, launcher
from mlsys.storage.embedded_account import Account, environment

SUPERUSER = "mlsys"
PORT = 5432
_SOCKET = f".s.PGSQL.{PORT}"
_SOCKET_BYTES = 107  # sun_path of a unix socket, less its closing zero
_UNSAFE = frozenset(",:;?&#%\"'\\\n\r\t")  # libpq reads a comma in a host as a list; the others need care in URLs and settings
_LOG_BYTES = 10 * 2**20
_UNFINISHED = "database.new-"


class Cluster:
    """Paths and state of one home's data folder. Constructing it touches nothing."""

    def __init__(self, home: Path) -> None:
        self.home = home.expanduser().resolve()
        self.data = self.home / "database"
        self.log = self.home / "postgres.log"
        self.sockets = _socket_folder(self.home)
        self._lock = self.home / "postgres.lock"

    def make_home(self) -> None:
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)

    def try_lock(self) -> int | None:
        """A locked descriptor, or None while any process of a server of this home lives.

        The server inherits the descriptor on purpose, and so do all its children: the lock is free exactly when the last of them is
        gone, whichever container or pid namespace it lived in. A pid in a file cannot promise that.
        """
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    @property
    def major(self) -> int | None:
        """Major version that made the data folder; None if there is no data folder yet."""
        if not self.data.exists():
            return None
        try:
            return int((self.data / "PG_VERSION").read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            raise errors.DatabaseUnavailable(
                f"{self.data} is not a PostgreSQL data folder (its PG_VERSION cannot be read). "
                "Move it away to start with an empty database, or restore it from a backup."
            ) from None

    @property
    def identifier(self) -> int:
        """The number initdb gave this data folder, as ``pg_control_system()`` tells it: equal means the same database."""
        with (self.data / "global" / "pg_control").open("rb") as file:
            return int(struct.unpack("=q", file.read(8))[0])

    @property
    def postmaster_pid(self) -> int | None:
        try:
            return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None

    def in_use_without_lock(self) -> bool:
        """Whether somebody started a server on the data folder by hand: the pid it noted lives and works in that folder."""
        try:
            return os.path.samefile(f"/proc/{self.postmaster_pid}/cwd", self.data)
        except OSError:
            return False

    def clear_leftovers(self) -> None:
        """Remove what a killed server left. Call it with the lock held: a pid in these files may by now be anyone's."""
        for path in (self.data / "postmaster.pid", self.sockets / f"{_SOCKET}.lock", self.sockets / _SOCKET):
            path.unlink(missing_ok=True)

    def hand_over(self, account: Account) -> None:
        """What root made here must stay usable for the server's user, also when that user comes back without root."""
        self.log.touch(mode=0o600)
        account.own(self.log, self._lock)

    def make_socket_folder(self, account: Account) -> None:
        """Raises ConfigError if the folder is there and is not ours alone (it may be in /tmp, where anyone can make one first)."""
        with contextlib.suppress(FileExistsError):
            self.sockets.mkdir(mode=0o700)
        status = self.sockets.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {os.geteuid(), account.uid}:
            raise errors.ConfigError(
                f"{self.sockets} is not a folder of this user's own, so the database's socket cannot be put there safely. "
                "Remove it, or choose a home with a shorter path."
            )
        self.sockets.chmod(0o700)
        account.own(self.sockets)

    def make_data(self, programs: binaries.Binaries, account: Account, *, lock: int) -> None:
        """Run initdb beside the final place and rename, so that an interrupted one is never taken for a data folder.

        It inherits the lock as the server does: while a killed one is on its way down, nobody clears what it still writes.
        """
        for unfinished in self.home.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        new = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.home))
        account.own(new)
        try:
            _initdb(programs, account.for_initdb, new, lock)
            new.rename(self.data)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        durable.sync_folder(self.home)

    def bound_log(self) -> None:
        """Keep the log at 10 MiB and one older part. Copy and truncate: the running server appends to this very file."""
        with contextlib.suppress(OSError):  # a full disk must not stop the database for its log
            if self.log.stat().st_size > _LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                os.truncate(self.log, 0)


def unusable(home: Path, exc: OSError) -> errors.MlsysError:
    """The expected error for an OSError under the home."""
    if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
        return errors.DatabaseUnavailable(f"The disk that holds {home} is full: free some space, or choose another home.")
    return errors.ConfigError(
        f"The home {home} cannot be used: {exc.strerror or exc} ({exc.filename or home}). "
        "Choose a home that this user may write to, or set database.url (environment: MLSYS_DATABASE__URL) to a PostgreSQL server."
    )


def unreachable(home: Path, detail: str) -> errors.MlsysError:
    """The expected error for a server user that may not pass a folder on the way; other people's permissions are not ours to change."""
    return errors.ConfigError(
        f"PostgreSQL does not run as root, and the user it would run as cannot reach its files under {home} ({detail}). "
        "Do one of these: run mlsys as an ordinary user; choose a home that every user can reach, such as /var/lib/mlsys; "
        "allow passage (chmod o+x) on the folder named; or set database.url (environment: MLSYS_DATABASE__URL)."
    )


def _socket_folder(home: Path) -> Path:
    near = home / "run"
    if len(os.fsencode(near / _SOCKET)) <= _SOCKET_BYTES and _UNSAFE.isdisjoint(str(near)):
        return near
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return Path(f"/tmp/mlsys-{os.geteuid()}-{digest}")  # not tempfile.gettempdir(): the same for every process, whatever its TMPDIR


def _initdb(programs: binaries.Binaries, account: Account, folder: Path, lock: int) -> None:
    arguments = [f"--username={SUPERUSER}", "--auth=trust", "--encoding=UTF8", "--data-checksums", "--no-instructions"]
    # the built-in provider sorts the same whatever the C library of the day: no index breaks when the machine is upgraded
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    arguments += builtin if programs.major >= 17 else ["--locale=C.UTF-8"]
    command = account.command(folder, programs.program("initdb"), f"--pgdata={folder}", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment(), check=False, pass_fds=(lock,))
    if done.returncode == launcher.REFUSED:
        raise errors.ConfigError(
            f"initdb needs a name for user id {account.uid}: add it to the passwd file, run mlsys as a user that is in it, "
            "or set database.url (environment: MLSYS_DATABASE__URL) to a PostgreSQL server."
        )
    if done.returncode == launcher.UNREACHABLE:
        raise unreachable(folder.parent, done.stderr.strip())
    if done.returncode != 0:
        raise failed(folder.parent, "could not create its data folder", done.stderr)


def failed(home: Path, what: str, output: str) -> errors.MlsysError:
    """The expected error for a server program that ended; ``output`` is what it wrote."""
    if os.strerror(errno.ENOSPC) in output:
        return unusable(home, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "error:", "could not", "not allow"))]
    return errors.DatabaseUnavailable(
        f"PostgreSQL {what} under {home}: {' / '.join((telling or lines)[-3:]) or 'it said nothing'}. "
        "Correct that, choose another home, or set database.url (environment: MLSYS_DATABASE__URL) to a PostgreSQL server."
    )
