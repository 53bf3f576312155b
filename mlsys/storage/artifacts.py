"""Content-addressed blobs in a folder: the name of a blob is the sha256 of its bytes. What the bytes mean is not known here."""

import hashlib
import re
import secrets
from pathlib import Path

from mlsys import errors
from mlsys.records import Blob
from mlsys.storage import durable

_SHA256 = re.compile(r"[0-9a-f]{64}")


class FolderBlobs:
    """Blobs under ``<folder>/<2 hex>/<62 hex>``, written all or nothing, verified at every read."""

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> Blob:
        """Stores the bytes durably and returns their address; the same again change nothing. Raises Unavailable (a full disk, say)."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._path(sha256)
        if not self._holds(path, sha256):
            durable.write(path, data, what="The artifact store")
        return Blob(sha256=sha256, size=len(data), uri=path.as_uri())

    def get(self, sha256: str) -> bytes:
        """The bytes. Raises DamagedArtifact when they are missing or no longer match their hash."""
        try:
            data = self._path(sha256).read_bytes()
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

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise errors.DamagedArtifact("That is not the address of a stored file.")
        return self.folder / sha256[:2] / sha256[2:]
