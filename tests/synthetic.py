"""Made-up series and an outside world in memory, for tests of the forecasting core."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mlsys import errors
from mlsys.pipelines import base
from mlsys.pipelines.files import DataRoots
from mlsys.records import Blob, Layout, Window

START = datetime(2021, 1, 1, tzinfo=UTC)


def layout(**changes: object) -> Layout:
    usual = {"timestamp": "time", "target": "load", "exogenous": ("temperature",), "frequency": timedelta(hours=1)}
    return Layout(**{**usual, **changes})


def window(days: int, *, start: datetime = START) -> Window:
    return Window(start=start, end=start + timedelta(days=days))


def load(days: int, *, start: datetime = START, seed: int = 1, step: timedelta = timedelta(hours=1)) -> pd.DataFrame:
    """``load`` with a daily and a weekly shape that follows ``temperature``, columns time, load, temperature."""
    chance = np.random.default_rng(seed)
    time = pd.date_range(start, start + timedelta(days=days), freq=step, inclusive="left").as_unit("us")
    hours = np.asarray((time - time[0]) / timedelta(hours=1), dtype=float)
    knots = np.arange(int(hours[-1] // 24) + 2) * 24.0
    slow = np.interp(hours, knots, chance.normal(0, 4, len(knots)))
    temperature = 10 + slow + 5 * np.sin(2 * np.pi * (hours - 9) / 24) + chance.normal(0, 0.2, len(time))
    working = np.where(np.asarray(time.day_of_week) < 5, 1.0, 0.7)
    shape = 100 + 30 * np.sin(2 * np.pi * (hours - 7) / 24)
    return pd.DataFrame(
        {"time": time, "load": working * shape - 2 * temperature + chance.normal(0, 2, len(time)), "temperature": temperature}
    )


class MemoryBlobs:
    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    def put(self, data: bytes) -> Blob:
        digest = hashlib.sha256(data).hexdigest()
        self.stored[digest] = data
        return Blob(sha256=digest, size=len(data), uri=f"memory:{digest}")

    def get(self, sha256: str) -> bytes:
        if sha256 not in self.stored or hashlib.sha256(self.stored[sha256]).hexdigest() != sha256:
            raise errors.DamagedArtifact("The stored bytes are missing or damaged.")
        return self.stored[sha256]


class Listener:
    """Remembers what a job tells; asks it to stop at the first report of ``stop_at``."""

    def __init__(self, *, stop_at: str | None = None) -> None:
        self.steps: list[tuple[str, int, int]] = []
        self.lines: list[tuple[str, str]] = []
        self._stop_at = stop_at

    def progress(self, step: str, done: int, total: int) -> None:
        self.steps.append((step, done, total))
        if step == self._stop_at:
            raise errors.Cancelled("The run was asked to stop.")

    def log(self, message: str, *, level: Literal["info", "warning", "error"] = "info") -> None:
        self.lines.append((level, message))


def ports(folder: Path, *, threads: int = 1, reporter: base.Reporter | None = None, blobs: MemoryBlobs | None = None) -> base.Ports:
    """Data root: ``folder`` itself; predictions go to ``folder/outputs``."""
    return base.Ports(
        blobs=blobs or MemoryBlobs(),
        files=DataRoots([folder]),
        outputs=folder / "outputs",
        reporter=reporter or Listener(),
        threads=threads,
    )
