"""Backups that are no good, each made from a good one: bits, links, other paths, other manifests. And how to look into one."""

import hashlib
import io
import itertools
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from mlsys.backup import archive


def unpacked(file: Path) -> bytearray:
    return bytearray(pa.CompressedInputStream(io.BytesIO(file.read_bytes()), "zstd").read())


def packed(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return bytes(out.getvalue())


def harmless(data: bytes, file: Path) -> bool:
    """A bit that zstd does not look at: what is in the archive is not damaged by it."""
    try:
        return bytes(pa.CompressedInputStream(io.BytesIO(data), "zstd").read()) == bytes(unpacked(file))
    except OSError:
        return False


def flipped(at: float) -> Callable[[Path], bytes]:
    def flip(file: Path) -> bytes:
        for place in itertools.count(int(file.stat().st_size * at)):
            data = bytearray(file.read_bytes())
            data[place] ^= 16
            if not harmless(bytes(data), file):
                return bytes(data)
        raise AssertionError

    return flip


def inside(at: int) -> Callable[[Path], bytes]:
    """One bit of the tar file itself."""

    def flip(file: Path) -> bytes:
        data = unpacked(file)
        data[at] ^= 1
        return packed(bytes(data))

    return flip


def cut(by: int) -> Callable[[Path], bytes]:
    return lambda file: file.read_bytes()[:-by]


def headed(**changes: Any) -> Callable[[Path], bytes]:
    """The first member after the manifest, under another header, whose checksum is right."""

    def change(file: Path) -> bytes:
        data = unpacked(file)
        info = tarfile.TarInfo.frombuf(bytes(data[:512]), "ascii", "strict")
        at = 512 + -(-info.size // 512) * 512
        member = tarfile.TarInfo.frombuf(bytes(data[at : at + 512]), "ascii", "strict")
        for name, value in changes.items():
            setattr(member, name, value)
        data[at : at + 512] = member.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")[-512:]
        return packed(bytes(data))

    return change


def extended(file: Path) -> bytes:
    data = unpacked(file)
    extra = tarfile.TarInfo("home/authorized_keys")
    extra.size = 4
    return packed(bytes(data[:-1024]) + extra.tobuf(tarfile.GNU_FORMAT) + b"evil".ljust(512, b"\0") + bytes(1024))


def rewritten(change: Callable[[Any], Any]) -> Callable[[Path], bytes]:
    """Another manifest, with its own right hash; the members as they were."""

    def write(file: Path) -> bytes:
        data = unpacked(file)
        info = tarfile.TarInfo.frombuf(bytes(data[:512]), "ascii", "strict")
        told = json.loads(data[512 : 512 + info.size])
        change(told)
        text = json.dumps(told).encode()
        head = archive.header(f"manifest-{hashlib.sha256(text).hexdigest()}.json", len(text))
        rest = data[512 + -(-info.size // 512) * 512 :]
        return packed(head + text + archive.padding(len(text)) + bytes(rest))

    return write


def listed(name: str) -> Callable[[Any], Any]:
    return lambda told: told["files"].append({"name": name, "size": 0, "sha256": hashlib.sha256(b"").hexdigest()})


BAD: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda file: b"",
    "text": lambda file: b"this is no archive" * 100,
    "gzip": lambda file: b"\x1f\x8b" + bytes(600),
    "zeros": lambda file: packed(bytes(4096)),
    **{f"bit at {at}": flipped(at) for at in (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)},
    **{f"bit of the tar at {at}": inside(at) for at in (5, 130, 400, 600, 30_000, -520, -1)},
    **{f"cut by {by}": cut(by) for by in (1, 100, 5000)},
    "cut before the end": lambda file: packed(bytes(unpacked(file)[:-512])),
    "more behind it": lambda file: file.read_bytes() + b"more",
    "a second archive behind it": lambda file: file.read_bytes() * 2,
    "an extra file": extended,
    "symbolic link": headed(type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0),
    "hard link": headed(type=tarfile.LNKTYPE, linkname="home/webhooks.key", size=0),
    "device": headed(type=tarfile.CHRTYPE, size=0),
    "pipe": headed(type=tarfile.FIFOTYPE, size=0),
    "folder": headed(type=tarfile.DIRTYPE, size=0),
    "traversal": headed(name="../../etc/cron.d/evil"),
    "absolute path": headed(name="/etc/cron.d/evil"),
    "another name": headed(name="tables/promotions.copy"),
    "another size": headed(size=2**40),
    "another owner": headed(uid=1000),
    "setuid": headed(mode=0o4755),
    "listed traversal": rewritten(listed("../../evil")),
    "listed absolute": rewritten(listed("/etc/evil")),
    "listed hidden": rewritten(listed(".ssh")),
    "listed twice": rewritten(lambda told: told["files"].append(told["files"][0])),
    "listed unknown": rewritten(listed("authorized_keys")),
    "a table that is none": rewritten(lambda told: told["tables"][0].update(name='x"; DROP TABLE runs; --')),
    "a column that is none": rewritten(lambda told: told["tables"][0].update(columns=["a) FROM PROGRAM 'id' --"])),
    "a blob that is no hash": rewritten(lambda told: told["blobs"]["artifacts"].append(["../../../evil", 1])),
    "another store": rewritten(lambda told: told["blobs"].update(tmp=[])),
    "negative size": rewritten(lambda told: told["tables"][0].update(size=-1)),
    "size as text": rewritten(lambda told: told["tables"][0].update(size="1")),
    "another key": rewritten(lambda told: told.update(evil=1)),
    "no tables": rewritten(lambda told: told.pop("tables")),
    "another format": rewritten(lambda told: told.update(format=2)),
    "a newer mlsys": rewritten(lambda told: told.update(revision="999")),
}
