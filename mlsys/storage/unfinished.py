"""A home that a restore is filling, or was filling when it was killed: nothing else may open it, since it looks like an empty one."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlsys import errors
from mlsys.storage import durable

_NAME = "restore.unfinished"


@contextmanager
def restoring(home: Path) -> Iterator[bool]:
    """The home is marked, and no other restore begins; yields whether an earlier one was killed here.

    The mark goes when the block ends. Where it raises it goes too, for then all is as before: unless it was there before.
    """
    path = home / _NAME
    before = path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            before = True
            raise errors.Conflict(f"Another restore into the home {home} is at work.") from None
        durable.sync_folder(home)
        yield before
        before = False
    finally:
        if not before:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            durable.sync_folder(home)
        os.close(descriptor)


def refuse(home: Path) -> None:
    """Raises ConfigError for such a home."""
    if (home / _NAME).exists():
        raise errors.ConfigError(
            f"A restore into the home {home} has begun and has not ended. Wait for it; if it was killed, repeat it: mlsys restore FILE"
        )
