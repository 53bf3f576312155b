"""Rows of all tables out of a database and into one, by COPY: every release of PostgreSQL reads what another wrote.

pg_dump is not among the embedded server's programs, refuses a server newer than itself, and knows neither our append-only triggers nor
what of a database is ours. Which tables there are is told by the database itself, so an older revision is dumped as it stands.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import psycopg2
import sqlalchemy as sa

from mlsys import errors
from mlsys.backup.archive import Content
from mlsys.backup.manifest import Manifest, SequenceDump, TableDump
from mlsys.storage import access_tables, tables

_IDENTITIES = sa.text(
    """
SELECT c.relname, a.attname, pg_get_serial_sequence(quote_ident(c.relname), a.attname) AS name
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attidentity <> ''
WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relname = ANY(:tables) ORDER BY c.relname
"""
)
_CONTINUE = sa.text("SELECT setval(pg_get_serial_sequence(quote_ident(:table), :column), :value, :called)")
_ALL = {access_tables.tokens.name, *tables.metadata.tables}
"""Names of all tables; those of access are in the same metadata once their module is imported."""
_PROCESSES_OWN = {"leadership", "processes"}
"""Tables with rows before anybody did anything."""


class _Spool:
    """Bytes on their way to a file, counted and hashed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def ours(connection: sa.Connection) -> list[str]:
    """The tables of mlsys that are there, each after those that its rows refer to."""
    ordered = [name for name, _ in sa.inspect(connection).get_sorted_table_and_fkc_names() if name is not None]
    return [name for name in ordered if name in _ALL]


def filled(connection: sa.Connection) -> list[str]:
    """Those with rows of somebody's."""
    found = [name for name in ours(connection) if name not in _PROCESSES_OWN]
    return [name for name in found if connection.scalar(sa.text(f'SELECT EXISTS (SELECT FROM "{name}")'))]


def dump(connection: sa.Connection, spool: IO[bytes]) -> list[TableDump]:
    """All rows, one table after the other, as this transaction sees them."""
    return [_dumped(connection, name, _Spool(spool)) for name in ours(connection)]


def sequences(connection: sa.Connection, names: Sequence[str]) -> list[SequenceDump]:
    """Read after the rows: sequences know no transactions, and may only be ahead of them."""
    found = []
    for table, column, name in connection.execute(_IDENTITIES, {"tables": list(names)}):
        value, called = connection.execute(sa.text(f"SELECT last_value, is_called FROM {name}")).one()
        found.append(SequenceDump(table=table, column=column, value=value, called=called))
    return found


def load(connection: sa.Connection, manifest: Manifest, contents: Iterator[Content]) -> None:
    """Fills the tables of a database that stands at the manifest's revision with its rows, and no others. Raises BadArchive."""
    names = [table.name for table in manifest.tables]
    if set(names) != set(ours(connection)):
        raise errors.BadArchive(f"Its tables are not those of revision {manifest.revision}.")
    with _quiet(connection, names), _understood(connection):
        for name in _PROCESSES_OWN.intersection(names):
            connection.execute(sa.text(f'DELETE FROM "{name}"'))
        for table in manifest.tables:
            _load(connection, table, next(contents))
        for one in manifest.sequences:
            connection.execute(_CONTINUE, vars(one))


@contextmanager
def _quiet(connection: sa.Connection, names: Sequence[str]) -> Iterator[None]:
    """Our triggers would queue events that have their number already. The owner may do this; foreign keys are still checked."""
    for name in names:
        connection.execute(sa.text(f'ALTER TABLE "{name}" DISABLE TRIGGER USER'))
    yield
    for name in names:  # where it raises the transaction is undone, and this with it
        connection.execute(sa.text(f'ALTER TABLE "{name}" ENABLE TRIGGER USER'))


@contextmanager
def _understood(connection: sa.Connection) -> Iterator[None]:
    """Rows that the tables do not take are the archive's fault."""
    try:
        yield
    except (psycopg2.DataError, psycopg2.IntegrityError, psycopg2.ProgrammingError, sa.exc.ProgrammingError, sa.exc.DataError) as error:
        raise errors.BadArchive("Its rows do not fit the tables of its revision.") from error
    except psycopg2.Error as error:
        raise errors.DatabaseUnavailable(f"The database did not take the rows ({str(error).strip().splitlines()[0]}).") from error


def _dumped(connection: sa.Connection, name: str, spool: _Spool) -> TableDump:
    columns = tuple(column["name"] for column in sa.inspect(connection).get_columns(name))
    cursor = _cursor(connection)
    cursor.copy_expert(f"COPY (SELECT {_listed(columns)} FROM \"{name}\") TO STDOUT (ENCODING 'UTF8')", spool)
    return TableDump(name=name, columns=columns, rows=cursor.rowcount, size=spool.size, sha256=spool.sha256)


def _load(connection: sa.Connection, table: TableDump, content: Content) -> None:
    cursor = _cursor(connection)
    cursor.copy_expert(f"COPY \"{table.name}\" ({_listed(table.columns)}) FROM STDIN (ENCODING 'UTF8')", content)
    if cursor.rowcount != table.rows:
        raise errors.BadArchive(f"Its table {table.name} holds {cursor.rowcount} rows and not {table.rows}.")


def _cursor(connection: sa.Connection) -> Any:
    return connection.connection.cursor()


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)
