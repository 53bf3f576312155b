"""Names the steps of a job in its progress: what a model reports as "fit" is shown as the stage that it is fitted for."""

from dataclasses import dataclass
from typing import Literal

from mlsys.pipelines import base


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A Reporter that shows every step under one name."""

    name: str
    reporter: base.Reporter

    def progress(self, step: str, done: int, total: int) -> None:
        self.reporter.progress(self.name, done, total)

    def log(self, message: str, *, level: Literal["info", "warning", "error"] = "info") -> None:
        self.reporter.log(message, level=level)
