"""As which user the embedded server's programs run, and how they are launched. What they are told to do is not known here.

PostgreSQL refuses uid 0. So as root: files that already belong to an ordinary user keep that user; else a user namespace, in which the
server is root to the kernel but not to itself; where that is forbidden (Docker's default), an unprivileged user.
"""

import os
import pwd
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mlsys.storage import launcher

NAMESPACE = "namespace"
_LAUNCHER = str(Path(launcher.__file__).absolute())
_UNPRIVILEGED = ("postgres", "nobody")


@dataclass(frozen=True, kw_only=True)
class Account:
    """``uid`` and ``gid`` own the server's files; ``user`` is what launcher.py is told to become."""

    uid: int
    gid: int
    user: str = ""

    def command(self, folder: Path, *command: str) -> list[str]:
        """``command`` as a list that runs it as this user, in ``folder``, and stops it (SIGINT) when the calling thread ends."""
        return [sys.executable, "-I", "-S", _LAUNCHER, self.user, str(os.getpid()), str(folder), *command]

    def own(self, *paths: Path) -> None:
        """Give files we made as root to the server's user, so that it, and its user without root, can work with them."""
        if os.geteuid() == 0:
            for path in paths:
                os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def own_tree(self, top: Path) -> None:
        for folder, _, names in os.walk(top):
            self.own(Path(folder), *(Path(folder, name) for name in names))

    @property
    def for_initdb(self) -> "Account":
        """initdb (and only it) wants its uid listed in the passwd file; in a namespace it shows as 65534, which is."""
        if self.user.endswith(NAMESPACE) or _listed(self.uid):
            return self
        return replace(self, user="+".join(filter(None, (self.user, NAMESPACE))))


def choose(*, home: Path, data: Path) -> Account:
    """The account for a home that exists and a data folder that may not exist yet."""
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid())
    status = (data if data.exists() else home).stat()
    if status.st_uid != 0:
        return _ordinary(status.st_uid, status.st_gid)
    if _allowed(NAMESPACE):
        return Account(uid=0, gid=status.st_gid, user=NAMESPACE)
    return _unprivileged()


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for the server's programs: a user's PGDATA, PGPORT, PGOPTIONS or language must not reach them."""
    kept = {name: value for name, value in environ.items() if not name.startswith(("PG", "LC_")) and name != "LANG"}
    return {**kept, "LC_ALL": "C"}


def _ordinary(uid: int, gid: int) -> Account:
    return Account(uid=uid, gid=gid, user=f"{uid}:{gid}")


def _unprivileged() -> Account:
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return _ordinary(entry.pw_uid, entry.pw_gid)
    return _ordinary(65534, 65534)


def _allowed(user: str) -> bool:
    account = Account(uid=0, gid=0, user=user)
    return subprocess.run(account.command(Path("/")), capture_output=True, check=False, timeout=30).returncode == 0


def _listed(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
