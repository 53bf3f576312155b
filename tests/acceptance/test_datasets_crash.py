"""kill -9 in the middle of appends, compactions and removals: what was told is there once, what was not is there whole or not at all."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import appender
import front
import pytest

from mlsys.records import Collected
from mlsys.retention.leftovers import Sweeper
from mlsys.timetravel import declaring
from mlsys.timetravel.asof import Ask
from mlsys.timetravel.compaction import Compactor

ASK = Ask(columns=("time", "value", "created_at"), ordered=True)


@pytest.fixture
def world(embedded_server: Any, tmp_path: Path) -> Iterator[tuple[front.World, str]]:
    url = embedded_server.clone()
    with front.started(tmp_path, url, {}) as found:
        found.system.data.housekeeping.stop()  # the children do it
        found.system.data.service.create(declaring.declare("plant", timestamp="time", columns={"value": "number"}))
        yield found, url
    embedded_server.drop(url)


def child(world: tuple[front.World, str], *point: str) -> subprocess.Popen[str]:
    command = [sys.executable, appender.__file__, world[1], str(world[0].home), "plant", *point]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def told(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    out, _ = process.communicate(timeout=60)
    return [json.loads(line) for line in out.splitlines() if line.endswith("}")]


def check(world: front.World, acknowledged: list[dict[str, Any]]) -> None:
    """Every batch whole and once, all that were acknowledged among them, and each cut as it was."""
    with world.system.data.reader.rows("plant", ASK) as reader:
        rows = reader.read_all().to_pylist()
    counts = Counter(row["value"] for row in rows if row["time"] != appender.START)
    assert set(counts.values()) <= {appender.ROWS}
    assert {float(each["batch"]) for each in acknowledged} <= set(counts)
    assert world.client.get("/datasets/plant").json["rows"] == len(counts) * (appender.ROWS + 1)  # type: ignore[index]
    for each in random.sample(acknowledged, min(5, len(acknowledged))):
        known_at = datetime.fromisoformat(each["created_at"])
        with world.system.data.reader.rows("plant", Ask(columns=("value",), known_at=known_at, ordered=True)) as reader:
            assert reader.read_all()["value"][0].as_py() == float(each["batch"])  # the row that each batch corrects


def clean(world: front.World) -> None:
    """What was left behind is found, and nothing else."""
    service = world.system.data.service
    parts = {"units": service._units, "blobs": service._blobs, "engine": service._engine, "reader": service._reader}
    compactor = Compactor(**parts, fewest=3)
    compactor.purge("plant")
    Sweeper(units=service._units, stores={"datasets": service._blobs}).sweep(Collected(), seconds=-1)
    present = {path for path in service._blobs.folder.rglob("*") if path.is_file()}
    with world.system.data.reader.snapshot("plant") as snapshot:
        assert present == {one.path for one in snapshot.stored}


@pytest.mark.parametrize("point", appender.POINTS)
def test_killed_at_a_point__nothing_is_lost_or_doubled(world: tuple[front.World, str], point: str) -> None:
    acknowledged = []
    for _ in range(2):
        process = child(world, point)
        acknowledged += told(process)
        assert process.returncode == -9
        check(world[0], acknowledged)
    clean(world[0])
    check(world[0], acknowledged)


def test_killed_at_any_moment__nothing_is_lost_or_doubled(world: tuple[front.World, str]) -> None:
    acknowledged = []
    for _ in range(5):
        process = child(world)
        assert process.stdout is not None
        acknowledged.append(json.loads(process.stdout.readline()))
        time.sleep(random.uniform(0, 0.7))
        process.kill()
        acknowledged += told(process)
        check(world[0], acknowledged)
    clean(world[0])
    check(world[0], acknowledged)


def test_concurrent__appends_compactions_and_readers(world: tuple[front.World, str]) -> None:
    """Three processes' worth of appends, a compactor and readers at once: no reader ever sees part of an append, or an old cut change."""
    data = world[0].system.data
    parts = {name: getattr(data.service, f"_{name}") for name in ("units", "blobs", "engine", "reader")}
    compactor, stop, faults, acknowledged = Compactor(**parts, fewest=3), threading.Event(), [], []  # type: ignore[var-annotated]

    def append(first: int) -> None:
        for batch in range(first, first + 15):
            made = data.service.append_tables("plant", [appender.table(batch)])
            acknowledged.append({"batch": batch, "created_at": made.created_at.isoformat()})

    def compact() -> None:
        while not stop.is_set():
            compactor.compact("plant")
            compactor.purge("plant")

    def read() -> None:
        cut: tuple[datetime, Any] | None = None
        while not stop.is_set():
            with data.reader.snapshot("plant") as snapshot, data.reader.query(snapshot, ASK) as reader:
                table = reader.read_all()
                counts = Counter(row["value"] for row in table.to_pylist() if row["time"] != appender.START)
                assert set(counts.values()) <= {appender.ROWS}
            if cut is not None:
                with data.reader.rows("plant", Ask(columns=ASK.columns, ordered=True, known_at=cut[0])) as reader:
                    assert reader.read_all().equals(cut[1])
            cut = (snapshot.at, table)

    def guarded(work: Any, *arguments: Any) -> threading.Thread:
        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:
                faults.append(error)
                stop.set()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    others = [guarded(compact), guarded(read), guarded(read)]
    appenders = [guarded(append, 1000 * n) for n in range(3)]
    for thread in appenders:
        thread.join(120)
    stop.set()
    for thread in others:
        thread.join(60)
    assert faults == []
    assert len(acknowledged) == 45
    check(world[0], acknowledged)
    clean(world[0])
