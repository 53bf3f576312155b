"""``mlsys serve`` that dies without a word at a named point of a firing: python striking.py POINT ARGUMENTS."""

import os
import sys
from typing import Any

from mlsys import cli
from mlsys.registry.firings import FiringRepository
from mlsys.registry.unit_of_work import UnitOfWork
from mlsys.scheduling.store import Store


def strike(owner: type, name: str, *, after: bool) -> None:
    """The process ends before that method, or after it."""
    real = getattr(owner, name)

    def struck(*arguments: Any, **named: Any) -> Any:
        if after:
            real(*arguments, **named)
        os._exit(9)

    setattr(owner, name, struck)


def at_commit(*, after: bool) -> None:
    """Only the commit of a firing."""
    real = FiringRepository.record

    def record(self: FiringRepository, runs: Any) -> Any:
        found = real(self, runs)
        strike(UnitOfWork, "commit", after=after)
        return found

    FiringRepository.record = record  # type: ignore[method-assign]


POINTS = {
    "due": lambda: strike(Store, "_write", after=False),
    "written": lambda: strike(FiringRepository, "record", after=True),
    "before_commit": lambda: at_commit(after=False),
    "after_commit": lambda: at_commit(after=True),
}

if __name__ == "__main__":
    real = Store._read
    point = POINTS[sys.argv[1]]

    def read(self: Store) -> None:
        """Armed once a firing is due, so that a start does not set it off."""
        real(self)
        if self._due:
            point()

    Store._read = read  # type: ignore[method-assign]
    cli.main(sys.argv[2:])
