"""Blobs by their hash: durable, whole, and never trusted unread."""

import hashlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlsys import errors
from mlsys.storage.artifacts import FolderBlobs


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(folder=tmp_path / "blobs")


def files(blobs: FolderBlobs) -> list[Path]:
    return [path for path in blobs.folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("data", [b"", b"x", b"model" * 100_000])
def test_put__then_get_gives_the_same_bytes(blobs: FolderBlobs, data: bytes) -> None:
    blob = blobs.put(data)
    assert (blob.sha256, blob.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert blobs.get(blob.sha256) == data
    assert Path(blob.uri.removeprefix("file://")).read_bytes() == data


def test_put__the_same_bytes_again_writes_nothing_but_the_time(blobs: FolderBlobs) -> None:
    """Who sweeps must see that somebody is about to name these bytes."""
    first = blobs.put(b"model")
    (file,) = files(blobs)
    before = file.stat()
    os.utime(file, (0, 0))
    assert blobs.put(b"model") == first
    (file,) = files(blobs)
    assert (file.stat().st_ino, file.stat().st_mtime >= before.st_mtime) == (before.st_ino, True)


def test_put__from_many_threads_leaves_one_whole_file(blobs: FolderBlobs) -> None:
    data = os.urandom(300_000)
    threads = [threading.Thread(target=blobs.put, args=(data,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in files(blobs)] == [data]


def test_put__writes_a_damaged_file_anew(blobs: FolderBlobs) -> None:
    blob = blobs.put(b"model")
    files(blobs)[0].write_bytes(b"mOdel")
    blobs.put(b"model")
    assert blobs.get(blob.sha256) == b"model"


@pytest.mark.parametrize("damage", [b"", b"mode", b"modem", b"model\n"])
def test_get__refuses_bytes_that_do_not_match(blobs: FolderBlobs, damage: bytes) -> None:
    blob = blobs.put(b"model")
    files(blobs)[0].write_bytes(damage)
    with pytest.raises(errors.DamagedArtifact, match="damaged") as refused:
        blobs.get(blob.sha256)
    assert str(blobs.folder) not in refused.value.message


def test_get__refuses_what_is_missing_or_no_file(blobs: FolderBlobs) -> None:
    blob = blobs.put(b"model")
    path = files(blobs)[0]
    path.unlink()
    with pytest.raises(errors.DamagedArtifact, match="missing"):
        blobs.get(blob.sha256)
    path.mkdir()
    with pytest.raises(errors.DamagedArtifact, match="cannot be read"):
        blobs.get(blob.sha256)


@pytest.mark.parametrize("address", ["", "x", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n"])
def test_get__takes_nothing_but_a_hash(blobs: FolderBlobs, address: str) -> None:
    with pytest.raises(errors.DamagedArtifact, match="not the address"):
        blobs.get(address)


def test_put__cut_off_leaves_nothing_under_the_name(blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(errors.Unavailable, match="Input/output"):
        blobs.put(b"model")
    assert files(blobs) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small tmpfs can be mounted by root only")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here ({mounted.stderr.strip()})")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_put__on_a_full_disk_fails_and_leaves_nothing(small_disk: Path) -> None:
    blobs = FolderBlobs(folder=small_disk)
    kept = blobs.put(b"small")
    with pytest.raises(errors.Unavailable, match="No space left"):
        blobs.put(os.urandom(1_000_000))
    assert [path.read_bytes() for path in files(blobs)] == [b"small"]
    assert blobs.get(kept.sha256) == b"small"


def test_check__says_whether_the_folder_can_be_written(blobs: FolderBlobs, tmp_path: Path) -> None:
    blobs.check()
    assert files(blobs) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        FolderBlobs(folder=tmp_path / "file" / "blobs").check()
