"""Backups made by somebody else: archives with ways out, links, devices and bombs, as ``mlsys restore`` looks at them first."""

import hashlib
import pickle
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from mlsys import errors
from mlsys.backup import archive
from mlsys.backup.manifest import STORES, Manifest, Member
from security.inputs.uploads import Evil
from security.table import Attack, rows

BLOB = b"a model"
SHA256 = hashlib.sha256(BLOB).hexdigest()
BOMB = f"manifest-{SHA256}.json"


def manifest(name: str = "webhooks.key", size: int = len(BLOB)) -> Manifest:
    files = (Member(name=name, size=size, sha256=SHA256),)
    blobs = {store: ((SHA256, len(BLOB)),) for store in STORES}
    return Manifest(mlsys="1", created_at="2026-01-01", revision="001", tables=(), sequences=(), files=files, blobs=blobs)


def plain(told: Manifest, member: Callable[[bytes], bytes] = lambda head: head) -> bytes:
    """The tar file; ``member`` changes the header of the first file."""
    data = told.to_bytes()
    parts = [archive.header(f"manifest-{hashlib.sha256(data).hexdigest()}.json", len(data)), data, archive.padding(len(data))]
    for number, one in enumerate(told.members()):
        head = archive.header(one.name, one.size)
        parts += [member(head) if number == 0 else head, BLOB, archive.padding(len(BLOB))]
    return b"".join([*parts, bytes(2 * tarfile.BLOCKSIZE)])


def packed(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def restored(data: bytes | Callable[[], bytes]) -> Attack:
    """The check before a restore; nothing is written before it has passed."""

    def attack(_: object) -> str:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "backup")
            file.write_bytes(data() if callable(data) else data)
            try:
                archive.checked(file)
            except errors.BadArchive as error:
                return "refused" if error.message else "refused without a word"
        return "taken"

    return attack


def instead(name: str, type: bytes = tarfile.REGTYPE, link: str = "") -> Attack:
    """An archive whose first file has another header than the manifest tells of."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.mode = len(BLOB), type, link, 0o600
    return restored(packed(plain(manifest(), lambda head: info.tobuf(tarfile.GNU_FORMAT, "ascii", "surrogateescape"))))


WHOLE = packed(plain(manifest()))
ROWS = rows(
    "archives",
    ("a file that leads up", instead("../../etc/cron.d/evil"), "refused"),
    ("a file that is absolute", instead("/etc/cron.d/evil"), "refused"),
    ("a symbolic link", instead("home/webhooks.key", tarfile.SYMTYPE, "/etc/passwd"), "refused"),
    ("a hard link", instead("home/webhooks.key", tarfile.LNKTYPE, "/etc/passwd"), "refused"),
    ("a device", instead("home/webhooks.key", tarfile.CHRTYPE), "refused"),
    ("a FIFO", instead("home/webhooks.key", tarfile.FIFOTYPE), "refused"),
    ("a folder", instead("home/webhooks.key", tarfile.DIRTYPE), "refused"),
    ("a manifest that leads up", restored(packed(plain(manifest("../evil")))), "refused"),
    ("a manifest that leads to a hidden file", restored(packed(plain(manifest(".bashrc")))), "refused"),
    ("a manifest with a size below zero", restored(packed(plain(manifest(size=-1)))), "refused"),
    ("a manifest with a size of 8 TiB", restored(packed(plain(manifest(size=2**33 - 1)))), "refused"),
    ("bytes of another file", restored(packed(plain(manifest()).replace(BLOB, b"A MODEL"))), "refused"),
    ("a file more", restored(packed(plain(manifest())[:-1024] + archive.header("evil", 0) + bytes(1024))), "refused"),
    ("half", restored(WHOLE[: len(WHOLE) // 2]), "refused"),
    ("a bomb of 256 MiB", restored(lambda: packed(plain(manifest()) + bytes(2**28))), "refused"),
    (
        "a bomb in place of the manifest",
        restored(lambda: packed(archive.header(BOMB, 2**31) + bytes(2**28))),
        "refused",
    ),
    ("not compressed", restored(plain(manifest())), "refused"),
    ("pickle", restored(pickle.dumps(Evil())), "refused"),
    ("nothing", restored(b""), "refused"),
)
