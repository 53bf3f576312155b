"""Source ``{type: sql, connection: NAME, table: x}`` or ``{.., query: "select .."}``: rows of a table, view or query of a named database.

Columns and window go into the statement; values travel as bound parameters, names quoted. Which rows exactly are in the window is decided
in reading.cut(), as for every source: the statement asks for a little more, as databases compare local times and text in their own ways.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from mlsys import errors
from mlsys.pipelines import columns, databases, frames, options, reading
from mlsys.pipelines.base import DataSource, Ports, Query
from mlsys.records import Window

CHUNK = 50_000
MARGIN = timedelta(days=2)


class SqlSource(DataSource):
    """``table`` may be ``schema.table``; ``query`` runs as a sub-query, read only. Timestamps: a date or time type, or text in ISO 8601."""

    def __init__(self, *, connection: str, connections: Mapping[str, str], table: str | None = None, query: str | None = None) -> None:
        if (table is None) == (query is None):
            raise errors.Invalid({"table": "Give either `table` or `query`."})
        self._name = connection
        self._url = databases.url(connections, connection)
        self._table = table
        self._query = query

    @classmethod
    def create(cls, options: Mapping[str, Any], *, ports: Ports) -> Self:
        return cls(**options, connections=ports.connections)

    def get_dataframe(self) -> pd.DataFrame:
        with databases.reading(self._url, self._name) as connection:
            rows = self._rows(connection)
            return frames.to_pandas(_fetch(connection, sa.select(*rows.c)))

    def schema(self) -> pa.Schema:
        """Names, and types as the first rows tell them (databases name their types in too many ways)."""
        with databases.reading(self._url, self._name) as connection:
            rows = self._rows(connection)
            found = _fetch(connection, sa.select(*rows.c).limit(1000)).schema
            empty = [field.name for field in found if pa.types.is_null(field.type)]
            return _with_types(found, {name: _first(connection, rows.c[name]) for name in empty})

    def read(self, query: Query) -> pa.Table:
        with databases.reading(self._url, self._name) as connection:
            rows = self._rows(connection)
            wanted = list(rows.c.keys()) if query.columns is None else [*query.columns]
            timed = [query.layout.timestamp] if query.window else []
            columns.require(list(rows.c.keys()), [*wanted, *timed])
            statement = sa.select(*(rows.c[name] for name in dict.fromkeys([*wanted, *timed])))
            if query.window is not None:
                statement = statement.where(_inside(connection, rows, query.layout.timestamp, query.window))
            table = _fetch(connection, statement)
        return reading.cut(table, query)

    def _rows(self, connection: sa.Connection) -> sa.FromClause:
        return self._named_table(connection, self._table) if self._table is not None else self._subquery(connection, self._query or "")

    def _named_table(self, connection: sa.Connection, name: str) -> sa.FromClause:
        inspector = sa.inspect(connection)
        schema, _, bare = name.rpartition(".")
        try:
            found = inspector.get_columns(bare, schema=schema or None)
        except sa.exc.NoSuchTableError:
            known = [*inspector.get_table_names(), *inspector.get_view_names()]
            raise errors.BadData(f"The database '{self._name}' has no table '{name}'; {options.nearest(name, known)}.") from None
        return sa.table(bare, *(sa.column(column["name"]) for column in found), schema=schema or None)

    def _subquery(self, connection: sa.Connection, query: str) -> sa.FromClause:
        escaped = re.sub(r"(?<![:\\]):(?!:)", r"\\:", query.strip().rstrip(";"))  # a colon is no parameter here
        text = f"{escaped}\n"  # a comment may stand last
        probe = connection.execute(sa.text(f"SELECT * FROM ({text}) AS probe WHERE 1 = 0"))
        names = list(probe.keys())
        columns.require(names, names)
        return sa.text(text).columns(*(sa.column(name) for name in names)).subquery("q")


def _inside(connection: sa.Connection, rows: sa.FromClause, name: str, window: Window) -> sa.ColumnElement[bool]:
    """The window, widened, as what the database hands out as a timestamp; text is compared by its date, which stands first in it."""
    column = rows.c[name]
    sample = _first(connection, column)
    if not isinstance(sample, str | date | None):
        raise errors.WrongType(f"The column '{name}' holds {type(sample).__name__}, not timestamps; store timestamps, or text in ISO 8601.")
    low, high = _bound(window.start, -MARGIN, sample), _bound(window.end, MARGIN, sample)
    return sa.and_(column >= low, column <= high)


def _first(connection: sa.Connection, column: sa.ColumnElement[Any]) -> Any:
    return connection.execute(sa.select(column).where(column.is_not(None)).limit(1)).scalar()


def _with_types(schema: pa.Schema, values: Mapping[str, Any]) -> pa.Schema:
    return pa.schema([field.with_type(_array([values[field.name]]).type) if field.name in values else field for field in schema])


def _bound(end: datetime, margin: timedelta, sample: object) -> sa.BindParameter[Any]:
    with contextlib.suppress(OverflowError):
        end = end + margin
    if isinstance(sample, datetime):
        return sa.literal(end if sample.tzinfo else end.replace(tzinfo=None), sa.DateTime(timezone=sample.tzinfo is not None))
    return sa.literal(end.date(), sa.Date()) if isinstance(sample, date) else sa.literal(end.date().isoformat(), sa.Text())


def _fetch(connection: sa.Connection, statement: sa.Select[Any]) -> pa.Table:
    result = connection.execute(statement, execution_options={"stream_results": True, "yield_per": CHUNK})
    names = list(result.keys())
    empty = pa.table({name: pa.nulls(0) for name in names})
    return reading.together([empty, *(_table(names, rows) for rows in result.partitions())])


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pa.Table:
    return pa.table(dict(zip(names, _arrays(names, rows), strict=True)))


def _arrays(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[pa.Array]:
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        try:
            yield _array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError, OverflowError):
            raise errors.WrongType(f"The column '{name}' holds values of several types; store one type in a column.") from None


def _array(values: Sequence[Any]) -> pa.Array:
    first = next((value for value in values if value is not None), None)
    if isinstance(first, Decimal):  # precisions differ from row to row; the jobs compute in float64
        return pa.array(np.array(values, dtype="float64"), from_pandas=True)
    return pa.array(values)
