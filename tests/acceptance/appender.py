"""A process of its own that appends and compacts until it is killed; each append it was told of is a line on standard output.

``appender.py URL HOME NAME [POINT]``: at POINT (see POINTS) it kills itself, at the third time it comes by.
"""

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from mlsys import bootstrap, config
from mlsys.registry.datasets import DatasetRepository
from mlsys.registry.unit_of_work import UnitOfWork
from mlsys.storage.artifacts import BlobWriter, FolderBlobs
from mlsys.system import System
from mlsys.timetravel.compaction import Compactor
from mlsys.timetravel.writing import Sheet

START = datetime(2022, 1, 1, tzinfo=UTC)
ROWS = 50


def system(url: str, home: Path) -> System:
    return bootstrap.build(config.load(None, environ={}, overrides={"home": str(home), "database.url": url, "logging.level": "error"}))


def table(batch: int) -> pa.Table:
    """ROWS rows of their own, and one row that every batch corrects."""
    times = [START, *(START + timedelta(hours=1 + batch * ROWS + n) for n in range(ROWS))]
    return pa.table({"time": pa.array(times, pa.timestamp("us", "UTC")), "value": [float(batch)] * len(times)})


# where a process may die: the method that is about to be called
POINTS: dict[str, tuple[type, str]] = {
    "bytes": (BlobWriter, "write"),
    "file": (Sheet, "written"),
    "row": (DatasetRepository, "add"),
    "commit": (UnitOfWork, "commit"),
    "replacement": (DatasetRepository, "replace"),
    "removal": (FolderBlobs, "remove"),
    "removed": (DatasetRepository, "freed"),
}


def deadly(point: str) -> None:
    owner, name = POINTS[point]
    original: Callable[..., Any] = getattr(owner, name)
    calls = itertools.count(1)

    def dying(*arguments: Any, **named: Any) -> Any:
        if next(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(owner, name, dying)


def main(url: str, home: str, name: str, point: str | None = None) -> None:
    made = system(url, Path(home))
    service = made.data.service
    parts = {"units": service._units, "blobs": service._blobs, "engine": service._engine, "reader": service._reader}
    compactor = Compactor(**parts, fewest=3)
    with service._units() as unit:
        batch = unit.datasets.state(name).rows  # of no other process' numbers
    if point:
        deadly(point)
    for number in itertools.count(batch):
        told = service.append_tables(name, [table(number)])
        sys.stdout.write(json.dumps({"batch": number, "created_at": told.created_at.isoformat()}) + "\n")
        sys.stdout.flush()
        compactor.compact(name)
        compactor.purge(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
