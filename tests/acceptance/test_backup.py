"""``mlsys backup`` and ``mlsys restore`` as people use them: the drill, archives that are no good, kills, a full disk; and ``mlsys gc``."""

import hashlib
import io
import itertools
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import front
import pyarrow as pa
import pytest
import serving
import terminal
from serving import Served

from mlsys import errors
from mlsys.backup import archive, manifest
from mlsys.crashing import STATUS, VARIABLE

PREDICTIONS = "/models/quick/predictions?start_date=2020-03-16&end_date=2020-03-17"
READ = ("/models/quick/versions", "/models/quick/promotions", "/schedules/weekly", "/webhooks", "/datasets/plant", "/runs?status=succeeded")


Lived = tuple[terminal.Place, Path, dict[str, Any]]


def live(served: Served) -> None:
    """Something of everything."""
    assert served.run("/job/train", front.TRAIN)["result"]["promoted"]
    assert served.run("/job/predict", front.PREDICT)["status"] == "succeeded"
    served.call("POST", "/datasets", {"name": "plant", "timestamp": "time", "columns": {"power": "number"}})
    served.call("POST", "/datasets/plant/rows", [{"time": "2020-01-01T00:00:00Z", "power": 1.5}])
    webhook = {"url": "https://example.org/hook", "events": ["data.*"], "enabled": False}
    assert served.call("POST", "/webhooks", webhook).status == 201
    window = {"start": "-P30D", "end": "PT0S"}
    schedule = {"name": "weekly", "kind": "train", "model_name": "quick", "cron": "0 3 * * 1", "window": window, "enabled": False}
    assert served.call("POST", "/schedules", schedule).status == 201


def told(served: Served) -> dict[str, Any]:
    return {path: served.call("GET", path).body["items"] if "?" in path else served.call("GET", path).body for path in (*READ, PREDICTIONS)}


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """A home, a backup of it that was made while it served and trained, and what it answered."""
    folder = tmp_path_factory.mktemp("lived")
    place = terminal.place(folder)
    slow = front.definition(model={"type": "lightgbm", "params": {"num_iterations": 4000, "seeds": 1}})
    front.configure(folder, {"quick": front.definition(), "slow": slow})
    with serving.serve(place["home"], config=place["config"], data=place["data"]) as served:
        live(served)
        training = served.call("POST", "/job/train", front.TRAIN | {"model_name": "slow"}).body
        serving.until(lambda: served.call("GET", f"/runs/{training['id']}").body["status"] != "queued")
        made = terminal.answered(place, "backup", str(folder / "backup.tar.zst"))
        served.call("POST", f"/runs/{training['id']}/cancel", {})
        answers = told(served)
    assert made["files"] == ["config.yaml", "webhooks.key"]
    return place, folder / "backup.tar.zst", answers


def elsewhere(place: terminal.Place, folder: Path) -> terminal.Place:
    return place | {"home": folder / "new"}


def test_drill__a_home_is_restored_and_says_the_same(lived: Lived, tmp_path: Path) -> None:
    place, file, answers = lived
    new = elsewhere(place, tmp_path)
    said = terminal.mlsys(new, "restore", str(file))
    assert "stored files" in said
    assert "mlsys verify" in said
    report = terminal.answered(new, "verify")
    assert report["ok"]
    assert report["checked"]["promotions"] == 1
    with serving.serve(new["home"], config=new["config"], data=new["data"]) as served:
        assert told(served) == answers
        assert served.call("GET", "/health/").body["checks"]["webhooks"].get("unreadable") is None, "the key came along"
        again = served.run("/job/predict", front.PREDICT)["result"]
        assert again["data"] == answers["/runs?status=succeeded"][0]["result"]["data"]
        (unfinished,) = served.call("GET", "/runs?model_name=slow").body["items"]
        changes = served.call("GET", f"/runs/{unfinished['id']}/history").body["items"]
        assert "crashed" in [change["status"] for change in changes], "what ran at the instant of the backup is found and tried again"
        served.call("POST", f"/runs/{unfinished['id']}/cancel", {})
    assert (new["home"] / "config.restored.yaml").read_bytes() == place["config"].read_bytes()
    for name in ("webhooks.key", "config.restored.yaml"):
        assert (new["home"] / name).stat().st_mode & 0o777 == 0o600
    assert "not empty" in terminal.mlsys(new, "restore", str(file), code=1)


# -- archives that are no good


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


def test_restore__archives_that_are_no_good(lived: Lived, tmp_path: Path) -> None:
    """Each is refused before a home is even made. Printed as a table."""
    place, file, _ = lived
    from mlsys import bootstrap, config

    home = tmp_path / "new"
    check = bootstrap.build(config.load(place["config"], environ={}, overrides={"home": str(home)})).upkeep.restore.check
    assert check(file).rows
    bad = tmp_path / "bad.tar.zst"
    lines = [f"{'archive':32} refusal"]
    for name, spoil in BAD.items():
        bad.write_bytes(spoil(file))
        with pytest.raises((errors.BadArchive, errors.Conflict)) as refused:
            check(bad)
        lines.append(f"{name:32} {refused.value.message}")
        assert isinstance(refused.value, errors.Conflict) == (name == "a newer mlsys"), name
        assert list(tmp_path.iterdir()) == [bad], name
    sys.stdout.write("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", ["bit at 0.5", "traversal"])
def test_restore__refuses_in_one_line_and_makes_nothing(lived: Lived, tmp_path: Path, name: str) -> None:
    place, file, _ = lived
    (tmp_path / "bad.tar.zst").write_bytes(BAD[name](file))
    new = elsewhere(place, tmp_path)
    assert "Error: bad.tar.zst" in terminal.mlsys(new, "restore", str(tmp_path / "bad.tar.zst"), code=1)
    assert not new["home"].exists()


def test_manifest__says_itself_again(lived: Lived) -> None:
    found = archive.checked(lived[1])
    assert manifest.from_bytes(found.to_bytes()) == found


def test_archive__is_read_by_any_tar(lived: Lived) -> None:
    with tarfile.open(fileobj=io.BytesIO(bytes(unpacked(lived[1])))) as found:
        names = found.getnames()
    assert names[0].startswith("manifest-")
    assert {"tables/promotions.copy", "home/webhooks.key", "home/config.yaml"} <= set(names)
    assert len(names) == len(set(names))


# -- what a user gets wrong


def test_backup__without_secrets_and_names_that_cannot_be(lived: Lived, tmp_path: Path) -> None:
    place, file, _ = lived
    made = terminal.answered(place, "backup", str(tmp_path / "plain.tar.zst"), "--no-secrets")
    assert made["files"] == []
    assert "choose another name" in terminal.mlsys(place, "backup", str(file), code=2)
    assert "does not exist" in terminal.mlsys(place, "backup", str(tmp_path / "none" / "x.tar.zst"), code=2)
    assert "cannot be read" in terminal.mlsys(elsewhere(place, tmp_path), "restore", str(tmp_path / "none.tar.zst"), code=2)


def test_backup__names_the_file_that_is_damaged(lived: Lived, tmp_path: Path) -> None:
    place, file, _ = lived
    new = elsewhere(place, tmp_path)
    terminal.mlsys(new, "restore", str(file))
    blob = next((new["home"] / "artifacts").glob("??/*"))
    blob.write_bytes(b"x" * blob.stat().st_size)
    assert blob.name[:8] in terminal.mlsys(new, "backup", str(tmp_path / "b.tar.zst"), code=1)
    blob.unlink()
    assert "mlsys verify" in terminal.mlsys(new, "backup", str(tmp_path / "b.tar.zst"), code=1)
    assert list(tmp_path.glob("*b.tar*")) == []


# -- kills and a full disk


@pytest.mark.parametrize("point", ["backup blob", "backup written"])
def test_backup__killed_leaves_no_file_of_that_name(lived: Lived, tmp_path: Path, point: str) -> None:
    place, file = lived[0], tmp_path / "killed.tar.zst"
    assert serving.cli("backup", str(file), **place, **{VARIABLE: point}).returncode == STATUS
    assert not file.exists()
    terminal.mlsys(place, "backup", str(file))
    assert list(tmp_path.iterdir()) == [file], "what the killed one left is gone as well"


@pytest.mark.parametrize("point", ["restore before commit", "restore committed"])
def test_restore__killed_is_not_taken_for_a_home(lived: Lived, tmp_path: Path, point: str) -> None:
    place, file, _ = lived
    new = elsewhere(place, tmp_path)
    assert serving.cli("restore", str(file), **new, **{VARIABLE: point}).returncode == STATUS
    assert "has not ended" in terminal.mlsys(new, "serve", "--port", "0", code=2)
    terminal.mlsys(new, "restore", str(file))
    assert terminal.answered(new, "verify")["checked"]["promotions"] == 1
    assert (new["home"] / "webhooks.key").read_bytes() == (place["home"] / "webhooks.key").read_bytes()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", folder], check=False, capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_backup__on_a_full_disk_leaves_nothing(lived: Lived, small_disk: Path) -> None:
    place = lived[0]
    said = terminal.mlsys(place, "backup", str(small_disk / "b.tar.zst"), code=1)
    assert "No space left on device" in said
    assert list(small_disk.iterdir()) == []


# -- gc


def test_gc__tells_what_would_go_then_does_it(tmp_path: Path) -> None:
    place = terminal.place(tmp_path)
    rules = {"MLSYS_RETENTION__KEEP_VERSIONS": "1", "MLSYS_RETENTION__KEEP_VERSION_DAYS": "0", "MLSYS_RETENTION__LEFTOVER_HOURS": "0"}
    with serving.serve(place["home"], config=place["config"], data=place["data"]) as served:
        for day in ("10", "11"):
            served.run("/job/train", front.TRAIN | {"end_date": f"2020-03-{day}", "promote": "never"})
    planned = serving.cli("gc", "--dry-run", "--json", **place, **rules)
    told = json.loads(planned.stdout)
    assert (len(told["versions"]), told["files"], told["dry_run"]) == (1, 2, True)
    shown = serving.cli("gc", **place, **rules).stdout
    assert told["versions"][0]["model_version_id"] in shown
    assert f"{told['bytes']:,} bytes" in shown
    assert "freed" in terminal.mlsys(place, "promote", "quick", told["versions"][0]["model_version_id"], code=1)
