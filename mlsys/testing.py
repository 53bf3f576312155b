"""Fakes for tests of pipelines, plugins and applications: a clock that stands still, a reporter that remembers."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal


@dataclass
class FrozenClock:
    """A clock that moves only when told."""

    instant: datetime

    def now(self) -> datetime:
        return self.instant

    def advance(self, by: timedelta) -> None:
        self.instant += by


@dataclass
class RecordingReporter:
    """Remembers what a job told."""

    steps: list[tuple[str, int, int]] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)

    def progress(self, step: str, done: int, total: int) -> None:
        self.steps.append((step, done, total))

    def log(self, message: str, *, level: Literal["info", "warning", "error"] = "info") -> None:
        self.lines.append((level, message))
