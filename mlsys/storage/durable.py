"""Writing a file so that, after any crash, the whole of it is there or nothing new is. Every file that mlsys keeps is written here."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mlsys import errors


def write(path: Path, data: bytes | memoryview, *, what: str) -> None:
    """temp, fsync, rename, fsync folders. Raises Unavailable, saying that ``what`` cannot be written and why (a full disk, say)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        for folder in (path.parent, path.parent.parent):
            sync_folder(folder)
    except OSError as error:
        raise errors.Unavailable(f"{what} cannot be written ({error.strerror}); nothing was stored.") from error


@contextmanager
def growing(path: Path) -> Iterator[IO[bytes]]:
    """A file that is written within, for its owner's eyes only, and appears under its name when the block ends; never where it raises.

    Until then it is ``.NAME.*.partial`` beside it, and locked: what a killed writer left is told by its lock, and removed here.
    """
    for left in path.parent.glob(f".{path.name}.*.partial"):
        _remove_unlocked(left)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            yield file
        os.fsync(descriptor)
        temporary.rename(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


def _remove_unlocked(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("rb") as file:  # locked: somebody writes it now
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        path.unlink()


def sync_folder(folder: Path) -> None:
    """Makes a rename or removal in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
