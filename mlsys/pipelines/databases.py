"""Connections of the ``sql`` components to the databases under ``data.connections``: opened for one read or write, closed after it.

Not our own database, which pipelines do not know. No message holds driver text, since that may hold parts of a URL.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from mlsys import errors
from mlsys.pipelines import options

READ_ONLY = {"postgresql": "SET TRANSACTION READ ONLY", "sqlite": "PRAGMA query_only = ON"}
CONNECT = {"postgresql": {"connect_timeout": 10}}


def url(connections: Mapping[str, str], name: str) -> sa.URL:
    """The named connection's URL; raises Invalid({"connection": ...}) for a name or URL that is not known."""
    if name not in connections:
        known = options.nearest(name, connections)
        raise errors.Invalid({"connection": f"There is no connection '{name}'; {known}. Connections are named in data.connections."})
    try:
        found = sa.make_url(connections[name])
        found.get_dialect()
    except (sa.exc.ArgumentError, ImportError, ValueError):
        text = f"The URL of the connection '{name}' cannot be used; write it like postgresql+psycopg2://user@host/name in data.connections."
        raise errors.Invalid({"connection": text}) from None
    return found


@contextmanager
def reading(target: sa.URL, name: str) -> Iterator[sa.Connection]:
    """A read-only transaction (where the dialect has one), rolled back at the end."""
    with _connection(target, name, begin="BEGIN") as connection:
        if connection.dialect.name in READ_ONLY:
            connection.exec_driver_sql(READ_ONLY[connection.dialect.name])
        yield connection


@contextmanager
def writing(target: sa.URL, name: str) -> Iterator[sa.Connection]:
    """One transaction: committed whole, or nothing of it."""
    with _connection(target, name, begin="BEGIN IMMEDIATE") as connection, connection.begin():
        yield connection


@contextmanager
def _connection(target: sa.URL, name: str, *, begin: str) -> Iterator[sa.Connection]:
    try:
        options = CONNECT.get(target.get_backend_name(), {})
        engine = sa.create_engine(target, poolclass=sa.NullPool, hide_parameters=True, connect_args=options)
    except (sa.exc.SQLAlchemyError, ImportError):
        text = f"No driver is installed for the connection '{name}'; install the one its URL names."
        raise errors.Invalid({"connection": text}) from None
    if engine.dialect.name == "sqlite":
        _transactional(engine, begin)
    try:
        with engine.connect() as connection:
            yield connection
    except sa.exc.SQLAlchemyError as error:
        raise _meaning(error, name) from None  # the driver's own text is not passed on
    finally:
        engine.dispose()


def _meaning(error: sa.exc.SQLAlchemyError, name: str) -> errors.MlsysError:
    cause = getattr(error, "orig", None) or error
    kind = type(cause).__name__
    # sqlite3 raises OperationalError for wrong statements too: only busy, locked and cannot-open pass with time
    if isinstance(error, sa.exc.OperationalError) and getattr(cause, "sqlite_errorcode", 5) & 0xFF in (5, 6, 14):
        return errors.Unavailable(f"The database '{name}' cannot be used now ({kind}); check that it runs and that its URL is right.")
    return errors.BadData(f"The database '{name}' refuses the statement ({kind}); check table, query, columns and rights.")


def _transactional(engine: sa.Engine, begin: str) -> None:
    """sqlite3 leaves DDL outside of transactions unless BEGIN is sent by hand."""

    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    def began(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", began)
