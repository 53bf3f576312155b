"""The example package, installed by pip into a folder of its own, is found and built by its type name: mlsys knows nothing of it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import front
import pytest
import serving

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE = EXAMPLES / "mlsys-sine-source"
SCRIPT = """
import json, sys
from pathlib import Path
from datetime import datetime, UTC
from mlsys import errors
from mlsys.pipelines import build, reading
from mlsys.pipelines.base import DataSource, Ports, Query
from mlsys.pipelines.files import DataRoots
from mlsys.records import Layout, Window

ports = Ports(blobs=None, files=DataRoots([]), outputs=Path("."), reporter=None)
source = build.build(DataSource, {"type": "sine", "days": 3}, ports=ports, field="source")
window = Window(start=datetime(2024, 1, 2, tzinfo=UTC), end=datetime(2024, 1, 3, tzinfo=UTC))
table, used = reading.read(source, Query(layout=Layout(timestamp="timestamp", target="value"), window=window))
try:
    build.build(DataSource, {"type": "sine", "dayz": 3}, ports=ports, field="source")
except errors.Invalid as error:
    fields = error.fields
print(json.dumps([type(source).__module__, "sine" in build.available(DataSource), table.column_names, used.rows, fields]))
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    return install(EXAMPLE, tmp_path)


def install(example: Path, folder: Path) -> Path:
    copy, target = folder / "copy", folder / "site"
    shutil.copytree(example, copy)  # pip leaves build folders beside the sources
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        str(target),
        str(copy),
    ]
    subprocess.run(command, check=True, timeout=120)
    return target


def test_example_package__is_built_by_its_type_name(installed: Path) -> None:
    paths = [str(installed), str(Path(__file__).parents[2]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    module, available, names, rows, fields = json.loads(run.stdout)
    assert (module, available, names, rows) == ("mlsys_sine_source", True, ["timestamp", "value", "temperature"], 96)
    assert "did you mean 'days'" in fields["source.dayz"][0]


def test_example_package__is_one_python_file() -> None:
    assert [path.name for path in EXAMPLE.rglob("*.py")] == ["mlsys_sine_source.py"]


def test_example_sink_and_listener__get_the_events_of_a_server(tmp_path: Path) -> None:
    front.hourly().to_parquet(tmp_path / "hourly.parquet")
    file = front.configure(tmp_path, {"quick": front.definition()})
    archive = tmp_path / "events.jsonl"
    more = {
        "MLSYS_EVENTS__SINKS__ARCHIVE": f"{{type: file, path: {archive}}}",
        "PYTHONPATH": os.pathsep.join([str(install(EXAMPLES / "mlsys-file-sink", tmp_path)), str(serving.REPOSITORY)]),
    }
    with serving.serve(tmp_path / "home", config=file, data=tmp_path, **more) as served:
        failed = served.run("/job/train", front.TRAIN | {"start_date": "2031-01-01", "end_date": "2031-02-01"})
        serving.until(lambda: archive.exists() and len(archive.read_text().splitlines()) == 3)
        assert served.call("GET", "/health/").body["checks"]["listeners"] == {"status": "ok", "failures": {"failures": 0}, "dropped": 0}
        served.kill()
    with archive.open("a") as cut:
        cut.write('{"type": "run.que')
    with serving.serve(tmp_path / "home", config=file, data=tmp_path, **more) as served:
        served.run("/job/train", front.TRAIN)
        serving.until(lambda: len(archive.read_text().splitlines()) == 9)
        told = served.call("GET", "/events").body["items"]
    assert [json.loads(line) for line in archive.read_text().splitlines()] == told
    assert f"run.failed: run {failed['id']}" in "".join(log.read_text() for log in tmp_path.glob("home-*.log"))
