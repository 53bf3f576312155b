"""``mlsys backup`` and ``mlsys restore`` as people use them: the drill, archives that are no good, kills, a full disk; and ``mlsys gc``."""

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import front
import pytest
import serving
import spoiling
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
    assert f"mlsys verify --config {new['config']} --home {new['home']}" in " ".join(said.split())
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


def test_restore__archives_that_are_no_good(lived: Lived, tmp_path: Path) -> None:
    """Each is refused before a home is even made. Printed as a table."""
    place, file, _ = lived
    from mlsys import bootstrap, config

    home = tmp_path / "new"
    check = bootstrap.build(config.load(place["config"], environ={}, overrides={"home": str(home)})).upkeep.restore.check
    assert check(file).rows
    bad = tmp_path / "bad.tar.zst"
    lines = [f"{'archive':32} refusal"]
    for name, spoil in spoiling.BAD.items():
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
    (tmp_path / "bad.tar.zst").write_bytes(spoiling.BAD[name](file))
    new = elsewhere(place, tmp_path)
    assert "Error: bad.tar.zst" in terminal.mlsys(new, "restore", str(tmp_path / "bad.tar.zst"), code=1)
    assert not new["home"].exists()


def test_manifest__says_itself_again(lived: Lived) -> None:
    found = archive.checked(lived[1])
    assert manifest.from_bytes(found.to_bytes()) == found


def test_archive__is_read_by_any_tar(lived: Lived) -> None:
    with tarfile.open(fileobj=io.BytesIO(bytes(spoiling.unpacked(lived[1])))) as found:
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
    assert ".tar.zst" in terminal.mlsys(place, "backup", str(tmp_path / "today.zip"), code=2)
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


def test_backup__of_a_home_where_nothing_was_done_is_refused(tmp_path: Path) -> None:
    """A token is made there before the first start, and makes a home: a nightly backup of the wrong one would succeed for years."""
    place = terminal.place(tmp_path)
    terminal.mlsys(place, "token", "create", "me")
    file = tmp_path / "b.tar.zst"
    assert "--allow-empty" in terminal.mlsys(place, "backup", str(file), code=1)
    assert not file.exists()
    assert terminal.mlsys(place, "backup", str(file), "--allow-empty").startswith(str(tmp_path)), "no empty line where there is no bar"


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
    assert ", freed" in terminal.mlsys(place, "models", "quick")
    assert "freed" in terminal.mlsys(place, "promote", "quick", told["versions"][0]["model_version_id"], code=1)
