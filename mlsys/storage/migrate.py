"""Moves the schema between revisions, under a lock so that any number of processes may ask at once."""

import importlib
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from mlsys import errors
from mlsys.storage.database import translated

_LOCK = 0x6D6C7379_00000001  # "mlsy" 1: advisory lock of the schema
BASE = "base"


class Migrator:
    """Upgrades and downgrades one database. Each move is one transaction: done whole, or not at all."""

    def __init__(self, *, engine: sa.Engine) -> None:
        package = importlib.import_module("mlsys.migrations")  # a folder outside mlsys/: see package_dir in setup.cfg
        self._engine = engine
        self._config = Config()
        self._config.set_main_option("script_location", str(Path(next(iter(package.__path__)))).replace("%", "%%"))
        self._script = ScriptDirectory.from_config(self._config)

    @property
    def revisions(self) -> list[str]:
        """All revisions, oldest first."""
        return [script.revision for script in reversed(list(self._script.walk_revisions()))]

    @property
    def head(self) -> str:
        return self.revisions[-1]

    def current(self) -> str | None:
        """The revision that the database stands at; None: empty. Raises Conflict when a newer mlsys made it."""
        with translated(), self._engine.connect() as connection:
            return self.standing(connection)

    def standing(self, connection: sa.Connection) -> str | None:
        """current() as the caller's transaction sees it."""
        found: str | None = MigrationContext.configure(connection, opts={"version_table": "mlsys_revision"}).get_current_revision()
        if found is not None and found not in self.revisions:
            raise errors.Conflict(
                f"The database stands at revision {found}, which this mlsys does not know: a newer one made it. Install that one."
            )
        return found

    def start_over(self, connection: sa.Connection, to: str) -> None:
        """In the caller's transaction: everything is undone, rows and all, and made anew up to ``to``. Raises Invalid."""
        target = self._known(to)
        if self._locked(connection) is not None:
            self._run(connection, command.downgrade, BASE)
        self._run(connection, command.upgrade, target)

    def rise(self, connection: sa.Connection) -> None:
        """In the caller's transaction, to head."""
        self._run(connection, command.upgrade, self.head)

    def upgrade(self, to: str | None = None) -> tuple[str | None, str | None]:
        """To ``to`` (default: head); one already reached changes nothing. Returns (from, to). Raises Invalid for an unknown revision."""
        target = self._known(to or self.head)
        with translated(), self._engine.begin() as connection:
            before = self._locked(connection)
            if before is None or self.revisions.index(before) < self.revisions.index(target):
                self._run(connection, command.upgrade, target)
            return before, self.standing(connection)

    def downgrade(self, to: str, *, force: bool = False) -> tuple[str | None, str | None]:
        """Undoes everything down to ``to``, itself included. Raises Conflict when rows would be lost, unless ``force``."""
        index = self.revisions.index(self._known(to))
        with translated(), self._engine.begin() as connection:
            before = self._locked(connection)
            if before is not None and self.revisions.index(before) >= index:
                undone = self.revisions[index : self.revisions.index(before) + 1]
                if not force:
                    self._refuse_loss(connection, undone)
                self._run(connection, command.downgrade, self.revisions[index - 1] if index else BASE)
            return before, self.standing(connection)

    def _locked(self, connection: sa.Connection) -> str | None:
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))  # waiting for another migration may take long
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        return self.standing(connection)

    def _refuse_loss(self, connection: sa.Connection, undone: list[str]) -> None:
        tables = [table for name in undone for table in self._script.get_revision(name).module.LOSES]
        if tables:
            connection.execute(sa.text(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE"))  # no row may come between look and loss
        full = [table for table in tables if connection.scalar(sa.text(f"SELECT EXISTS (SELECT FROM {table})"))]
        if full:
            raise errors.Conflict(
                f"Going down would lose the rows of: {', '.join(full)}. Take a backup, then repeat with force to lose them."
            )

    def _run(self, connection: sa.Connection, move: object, target: str) -> None:
        self._config.attributes["connection"] = connection
        move(self._config, target)  # type: ignore[operator]

    def _known(self, revision: str) -> str:
        if revision not in self.revisions:
            raise errors.Invalid({"version": f"There is no revision {revision!r}; known are {', '.join(self.revisions)}."})
        return revision
