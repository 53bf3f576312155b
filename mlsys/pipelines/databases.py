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
    with _engine(target, name) as engine, engine.connect() as connection:
        if engine.dialect.name in READ_ONLY:
            connection.exec_driver_sql(READ_ONLY[engine.dialect.name])
        yield connection


@contextmanager
def writing(target: sa.URL, name: str) -> Iterator[sa.Connection]:
    """One transaction: committed whole, or nothing of it."""
    with _engine(target, name) as engine, engine.begin() as connection:
        yield connection


@contextmanager
def _engine(target: sa.URL, name: str) -> Iterator[sa.Engine]:
    try:
        engine = sa.create_engine(target, poolclass=sa.NullPool, hide_parameters=True)
    except (sa.exc.SQLAlchemyError, ImportError):
        text = f"No driver is installed for the connection '{name}'; install the one its URL names."
        raise errors.Invalid({"connection": text}) from None
    if engine.dialect.name == "sqlite":
        _transactional(engine)
    try:
        yield engine
    except sa.exc.OperationalError as error:
        raise _unavailable(error, name) from None
    except sa.exc.SQLAlchemyError as error:
        text = f"The database '{name}' refuses the statement ({_kind(error)}); check table, query, columns and rights."
        raise errors.BadData(text) from None
    finally:
        engine.dispose()


def _unavailable(error: sa.exc.OperationalError, name: str) -> errors.MlsysError:
    return errors.Unavailable(f"The database '{name}' cannot be used now ({_kind(error)}); check that it runs and that its URL is right.")


def _kind(error: sa.exc.SQLAlchemyError) -> str:
    return type(getattr(error, "orig", None) or error).__name__


def _transactional(engine: sa.Engine) -> None:
    """sqlite3 leaves DDL outside of transactions unless BEGIN is sent by hand."""

    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    def began(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", began)
