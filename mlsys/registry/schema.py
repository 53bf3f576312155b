"""Whether the database stands at the newest revision, and the use case of moving it."""

from collections.abc import Callable
from typing import Literal

from mlsys import errors
from mlsys.storage.migrate import Migrator


class Schema:
    """``at_head`` is this process' knowledge, renewed at each move; ``on_head`` is called each time head has been reached."""

    def __init__(self, *, migrator: Migrator, on_head: Callable[[], None]) -> None:
        self._migrator = migrator
        self._on_head = on_head
        self.at_head = False

    def move(
        self, direction: Literal["up", "down"] = "up", version: str | None = None, *, force: bool = False
    ) -> tuple[str | None, str | None]:
        """Returns the revisions (from, to). Raises Invalid for an unknown one, Conflict when rows would be lost without ``force``."""
        if direction == "down":
            if version is None:
                raise errors.Invalid({"version": "Say down to which revision; it is undone as well."})
            before, after = self._migrator.downgrade(version, force=force)
        else:
            before, after = self._migrator.upgrade(version)
        self.at_head = after == self._migrator.head
        if self.at_head:
            self._on_head()
        return before, after

    def current(self) -> str | None:
        return self._migrator.current()
