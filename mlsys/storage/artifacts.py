"""Content-addressed blobs in a folder: the name of a blob is the sha256 of its bytes. What the bytes mean is not known here."""

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mlsys import errors
from mlsys.records import Blob
from mlsys.storage import durable

_SHA256 = re.compile(r"[0-9a-f]{64}")


class BlobWriter:
    """Bytes on their way into the store: a file that hashes what is written. ``blob`` is set once they are stored for good."""

    def __init__(self, *, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.path = path  # where they lie until then
        self.size = 0
        self.closed = False
        self.discarded = False
        self.blob: Blob | None = None

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self._file.write(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def discard(self) -> None:
        """What was written was only wanted for a while: nothing is stored."""
        self.discarded = True

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class FolderBlobs:
    """Blobs under ``<folder>/<2 hex>/<62 hex>``, written all or nothing, verified at every read."""

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> Blob:
        """Stores the bytes durably and returns their address; the same again change nothing. Raises Unavailable (a full disk, say)."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        if not (self._holds(path, sha256) and _touched(path)):
            durable.write(path, data, what="The artifact store")
        return Blob(sha256=sha256, size=len(data), uri=path.as_uri())

    @contextmanager
    def writing(self) -> Iterator[BlobWriter]:
        """Stores what is written within, durably, when the block ends; leaves nothing when it raises. For bytes that do not fit in memory.

        Raises Unavailable (a full disk, say).
        """
        temporary = self.folder / f".incoming.{secrets.token_hex(8)}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                writer = BlobWriter(file=file, path=temporary)
                yield writer
                writer.closed = True
                if writer.discarded:
                    return
                file.flush()
                os.fsync(file.fileno())
            path = self.path(writer.sha256)
            known = path.parent.is_dir()
            path.parent.mkdir(exist_ok=True)
            temporary.rename(path)
            for folder in (path.parent,) if known else (path.parent, self.folder):
                durable.sync_folder(folder)
            writer.blob = Blob(sha256=writer.sha256, size=writer.size, uri=path.as_uri())
        except OSError as error:
            raise errors.Unavailable(f"The artifact store cannot be written ({error.strerror}); nothing was stored.") from error
        finally:
            temporary.unlink(missing_ok=True)

    def verify(self, sha256: str) -> None:
        """Reads the bytes once, in pieces. Raises DamagedArtifact as get() does."""
        try:
            with self.path(sha256).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            raise errors.DamagedArtifact(f"The stored file {sha256[:12]} is missing.") from None
        except OSError as error:
            raise errors.DamagedArtifact(f"The stored file {sha256[:12]} cannot be read ({error.strerror}).") from error
        if found != sha256:
            raise errors.DamagedArtifact(f"The stored file {sha256[:12]} is damaged: its bytes do not match their sha256.")

    def remove(self, sha256: str) -> None:
        """Whether they are there or not."""
        self.path(sha256).unlink(missing_ok=True)

    def stored(self) -> Iterator[str]:
        """Hashes of all blobs that are there."""
        for path in self.folder.glob("??/*"):
            if _SHA256.fullmatch(path.parent.name + path.name):
                yield path.parent.name + path.name

    def stored_since(self) -> Iterator[tuple[str, int, float]]:
        """(sha256, size in bytes, when its bytes were last stored, as of time.time()) of all blobs that are there."""
        for path in self.folder.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):  # another process was first
                if _SHA256.fullmatch(path.parent.name + path.name):
                    found = path.stat()
                    yield path.parent.name + path.name, found.st_size, found.st_mtime

    def unfinished(self, *, seconds: float) -> Iterator[Path]:
        """Temporary files of that age: a killed writer left them."""
        for path in [*self.folder.glob(".*"), *self.folder.glob("??/.*")]:
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and path.stat().st_mtime <= time.time() - seconds:
                    yield path

    def remove_untouched(self, sha256: str, *, seconds: float) -> bool:
        """Removes a blob unless somebody has stored the same bytes meanwhile, who will name it in a moment.

        It is put aside first: from then on whoever stores those bytes writes them anew.
        """
        path = self.path(sha256)
        aside = path.with_name(f".removed.{secrets.token_hex(4)}")
        try:
            path.rename(aside)
        except FileNotFoundError:
            return False
        young = aside.stat().st_mtime > time.time() - seconds
        if young:
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink()
        return not young

    def get(self, sha256: str) -> bytes:
        """The bytes. Raises DamagedArtifact when they are missing or no longer match their hash."""
        try:
            data = self.path(sha256).read_bytes()
        except FileNotFoundError:
            raise errors.DamagedArtifact(f"The stored file {sha256[:12]} is missing.") from None
        except OSError as error:
            raise errors.DamagedArtifact(f"The stored file {sha256[:12]} cannot be read ({error.strerror}).") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise errors.DamagedArtifact(f"The stored file {sha256[:12]} is damaged: its bytes do not match their sha256.")
        return data

    def check(self) -> None:
        """Raises OSError when nothing can be written here."""
        self.folder.mkdir(parents=True, exist_ok=True)
        probe = self.folder / f".probe.{secrets.token_hex(4)}"
        try:
            probe.write_bytes(b"x")
        finally:
            probe.unlink(missing_ok=True)

    def _holds(self, path: Path, sha256: str) -> bool:
        """A damaged file under the right name must be written anew, not trusted."""
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
        except OSError:
            return False

    def path(self, sha256: str) -> Path:
        """Where the bytes of that hash lie, or would lie."""
        if not _SHA256.fullmatch(sha256):
            raise errors.DamagedArtifact("That is not the address of a stored file.")
        return self.folder / sha256[:2] / sha256[2:]


def _touched(path: Path) -> bool:
    """Says that the bytes were stored again just now; False when they have just been removed."""
    try:
        os.utime(path)
    except OSError:
        return False
    return True
