"""Writing a file so that, after any crash, the whole of it is there or nothing new is. Every file that mlsys keeps is written here."""

import os
import secrets
from pathlib import Path

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


def sync_folder(folder: Path) -> None:
    """Makes a rename or removal in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
