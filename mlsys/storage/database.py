"""The SQLAlchemy engine of mlsys' own database, and the one place where driver errors become ours. No SQL of any resource lives here."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg2
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from mlsys import errors

_RESTED_SECONDS = 1.0
_PASSING = ("08", "53", "57", "55P03", "40")  # SQLSTATE: connection lost, out of resources, shut down or cancelled, lock or serialization
_OTHER_SCHEMA = ("42P01", "42703", "42704")  # undefined table, column, object


def make_engine(url: str, *, pool_size: int, statement_timeout_seconds: float, application_name: str = "mlsys") -> sa.Engine:
    """An engine that opens nothing until used. Raises ConfigError for a URL that is not PostgreSQL by psycopg2."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise errors.ConfigError("database.url cannot be read; write postgresql+psycopg2://user:password@host:5432/name") from None
    if parsed.drivername == "postgresql":  # SQLAlchemy 2.1 would take psycopg 3
        parsed = parsed.set(drivername="postgresql+psycopg2")
    if parsed.drivername != "postgresql+psycopg2":
        raise errors.ConfigError("database.url must be a PostgreSQL URL: postgresql+psycopg2://user:password@host:5432/name")
    options = f"-c statement_timeout={int(statement_timeout_seconds * 1000)} -c timezone=UTC -c jit=off"
    engine = sa.create_engine(
        parsed,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        json_deserializer=orjson.loads,
        hide_parameters=True,  # an exception's text would hold them: addresses of webhooks, sealed secrets
        connect_args={"options": options, "connect_timeout": 10, "application_name": application_name},
    )
    _check_rested(engine)
    return engine


def _check_rested(engine: sa.Engine) -> None:
    """Asks a connection whether it lives only when it has rested; pool_pre_ping asks each time, for a third of a look-up's time."""

    @sa.event.listens_for(engine, "checkin")
    def rest(connection: Any, record: Any) -> None:
        record.info["rested"] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def wake(connection: Any, record: Any, proxy: Any) -> None:
        now = time.monotonic()
        if now - record.info.get("rested", now) < _RESTED_SECONDS:  # a new connection has not rested at all
            return
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            connection.rollback()
        except psycopg2.Error:
            raise sa.exc.DisconnectionError from None  # the pool takes a new one


@contextmanager
def translated() -> Iterator[None]:
    """Turns what may pass (connection lost, something timed out, schema moved by another) into DatabaseUnavailable, without driver text."""
    try:
        yield
    except sa.exc.TimeoutError:
        raise errors.DatabaseUnavailable("All database connections are in use; try again.", retry_after=1) from None
    except DBAPIError as error:
        if _code(error) in _OTHER_SCHEMA:
            text = "The database's schema is not the one that this mlsys needs. Bring it up: GET /migrate/ or `mlsys db upgrade`."
            raise errors.DatabaseUnavailable(text) from error
        if passing(error):
            raise errors.DatabaseUnavailable("The database cannot be reached at the moment; try again.") from error
        raise


def passing(error: DBAPIError) -> bool:
    """Whether the same statement may succeed later."""
    code = _code(error)
    return error.connection_invalidated or (not code and isinstance(error, sa.exc.OperationalError)) or code.startswith(_PASSING)


def _code(error: DBAPIError) -> str:
    """SQLSTATE; empty where the driver gives none."""
    return str(getattr(error.orig, "pgcode", None) or "")
