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
        if after == self._migrator.head:
            self._on_head()
        self.at_head = after == self._migrator.head
        return before, after

    def ready(self) -> bool:
        """Whether the database stands at head; below it, looks again: another process may have brought it up."""
        return self.at_head or self.look()

    def look(self) -> bool:
        """Renews ``at_head`` from the database, and acts on a head that is newly reached."""
        before, self.at_head = self.at_head, self._migrator.current() == self._migrator.head
        if self.at_head and not before:
            self._on_head()
        return self.at_head

    def current(self) -> str | None:
        return self._migrator.current()
