"""The archive: a tar file, compressed with zstd, of which every byte follows from its manifest.

The first member is the manifest, under a name that holds its sha256; then come the members that it lists, in its order, as plain files.
So a reader needs no trust: each header must be, byte for byte, the one of the member that is due, and whatever else a tar file could hold
(another path, a link, a device, a second file of that name, more bytes) differs. Any tar with zstd reads it: ``tar --zstd -tvf FILE``.
"""

import hashlib
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mlsys import errors
from mlsys.backup import manifest as manifests
from mlsys.backup.manifest import Manifest, Member

CHUNK = 2**20
_MOST_MANIFEST = 2**30
_NAME = re.compile(r"manifest-([0-9a-f]{64})\.json")
_END = bytes(2 * tarfile.BLOCKSIZE)


class Content:
    """The bytes of a member, to be read to their end; ``whole`` tells afterwards whether they were those that the manifest tells of."""

    def __init__(self, member: Member, read: Callable[[int], bytes]) -> None:
        self.member = member
        self._read = read
        self._left = member.size
        self._digest = hashlib.sha256()

    def read(self, size: int = CHUNK) -> bytes:
        data = self._read(min(size, self._left)) if self._left else b""
        self._digest.update(data)
        self._left -= len(data)
        return data

    def parts(self) -> Iterator[bytes]:
        return iter(self.read, b"")

    @property
    def whole(self) -> bool:
        return self._left == 0 and self._digest.hexdigest() == self.member.sha256


class Writer:
    """Writes a manifest, then its members one after the other. ``on_bytes`` is told of each part of them."""

    def __init__(self, file: IO[bytes], manifest: Manifest, *, on_bytes: Callable[[int], Any] = lambda count: None) -> None:
        import pyarrow as pa

        self._stream = pa.CompressedOutputStream(file, "zstd")
        self._on_bytes = on_bytes
        self._due = manifest.members()
        data = manifest.to_bytes()
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._stream.write(header(f"manifest-{self.sha256}.json", len(data)))
        self._stream.write(data + padding(len(data)))

    def add(self, source: IO[bytes]) -> None:
        """The member that is due. Raises DamagedArtifact when the bytes are not those that the manifest tells of."""
        content = Content(next(self._due), source.read)
        self._stream.write(header(content.member.name, content.member.size))
        for part in content.parts():
            self._stream.write(part)
            self._on_bytes(len(part))
        if not content.whole:
            raise errors.DamagedArtifact(f"{content.member.name} is damaged: its bytes do not match their sha256.")
        self._stream.write(padding(content.member.size))

    def close(self) -> None:
        """Ends the archive, and closes the file."""
        self._stream.write(_END)
        self._stream.close()


class Reader:
    """An open archive: its manifest was read, its members are still to come. Everything raises BadArchive for what is not as it must be."""

    def __init__(self, stream: Any, *, on_bytes: Callable[[int], Any] = lambda count: None) -> None:
        self._stream = stream
        self._on_bytes = on_bytes
        self.manifest = self._manifest()

    def contents(self) -> Iterator[Content]:
        """Each member in turn, to be read before the next is asked for: only then it is known to be whole."""
        seen: set[str] = set()
        for member in self.manifest.members():
            head = self._exactly(tarfile.BLOCKSIZE)
            if head != header(member.name, member.size):
                raise errors.BadArchive(_otherwise(head, member, seen))
            seen.add(member.name)
            content = Content(member, self._told)
            yield content
            if not content.whole:
                raise errors.BadArchive(f"{member.name} is damaged: its bytes do not match their sha256.")
            if self._exactly(-member.size % tarfile.BLOCKSIZE).strip(b"\0"):
                raise errors.BadArchive(f"{member.name} is followed by bytes that belong to nothing.")
        if self._exactly(len(_END)) != _END or self._decompressed(1):
            raise errors.BadArchive("It holds more than its manifest lists.")

    def _told(self, size: int) -> bytes:
        data = self._decompressed(size)
        self._on_bytes(len(data))
        return data

    def _manifest(self) -> Manifest:
        head = self._exactly(tarfile.BLOCKSIZE)
        try:
            info = tarfile.TarInfo.frombuf(head, "ascii", "strict")
        except (tarfile.HeaderError, ValueError):
            raise errors.BadArchive("It is no backup of mlsys.") from None
        name = _NAME.fullmatch(info.name)
        if name is None or head != header(info.name, info.size):
            raise errors.BadArchive("It is no backup of mlsys: it does not begin with a manifest.")
        if info.size > _MOST_MANIFEST:
            raise errors.BadArchive("Its manifest is larger than any can be.")
        data = self._exactly(info.size)
        if hashlib.sha256(data).hexdigest() != name[1] or self._exactly(-info.size % tarfile.BLOCKSIZE).strip(b"\0"):
            raise errors.BadArchive("Its manifest is damaged: its bytes do not match their sha256.")
        return manifests.from_bytes(data)

    def _exactly(self, size: int) -> bytes:
        data = self._decompressed(size) if size else b""
        if len(data) != size:
            raise errors.BadArchive("It is cut short.")
        return data

    def _decompressed(self, size: int) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except OSError as error:  # pyarrow's for bytes that are not zstd, or not all of them
            raise errors.BadArchive(f"It is damaged, cut short or no backup of mlsys ({error}).") from None


@contextmanager
def opened(path: Path, *, on_bytes: Callable[[int], Any] = lambda count: None) -> Iterator[Reader]:
    """Raises Invalid for a file that cannot be opened, BadArchive for one that is not whole."""
    import pyarrow as pa

    try:
        file = path.open("rb")
    except OSError as error:
        raise errors.Invalid({"FILE": f"{path} cannot be read ({error.strerror})."}) from None
    with file:
        try:
            yield Reader(pa.CompressedInputStream(file, "zstd"), on_bytes=on_bytes)
        except errors.BadArchive as error:
            raise errors.BadArchive(f"{path.name} cannot be restored. {error.message}") from None


def checked(path: Path, *, on_bytes: Callable[[int], Any] = lambda count: None) -> Manifest:
    """Reads the whole archive and believes nothing; only then anything of it may be written anywhere."""
    with opened(path, on_bytes=on_bytes) as reader:
        for content in reader.contents():
            for _ in content.parts():
                pass
        return reader.manifest


def header(name: str, size: int) -> bytes:
    """The one header that a plain file of that name and size has here: no owner, no time."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")


def padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _otherwise(head: bytes, due: Member, seen: set[str]) -> str:
    """What stands in the place of a member, in words."""
    try:
        info = tarfile.TarInfo.frombuf(head, "ascii", "surrogateescape")
    except tarfile.HeaderError:
        return f"Where {due.name} is due there is no file."
    name = ascii(info.name)
    if not info.isreg():
        kind = "a link" if info.issym() or info.islnk() else "a folder" if info.isdir() else "a device or something else that is no file"
        return f"{name} is {kind}; a backup holds plain files only."
    if info.name.startswith("/") or ".." in info.name.split("/"):
        return f"{name} leads out of the archive."
    if info.name in seen:
        return f"{name} stands in it twice."
    if info.name == due.name:
        return f"{name} is not of the size that the manifest tells, or its header was altered."
    return f"{name} stands where the manifest has {due.name}."
