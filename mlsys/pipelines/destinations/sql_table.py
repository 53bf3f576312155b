"""Destination ``{type: sql_table, connection: NAME, table: x}``: predictions as rows of a table of a named database.

The table is made when it is not there. A run's rows are replaced in one transaction: all or nothing, and the same again when written again.
"""

import re
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

import pyarrow as pa
import sqlalchemy as sa

from mlsys import errors
from mlsys.pipelines import databases, fingerprint
from mlsys.pipelines.base import Destination, Ports
from mlsys.records import Output

CHUNK = 10_000
TABLE = re.compile(r"([A-Za-z_]\w{0,62}\.)?[A-Za-z_]\w{0,62}", re.ASCII)
ONE_AT_A_TIME = {"postgresql": "SELECT pg_advisory_xact_lock(hashtext(:table))"}  # or two first runs would both create the table


class SqlTableDestination(Destination):
    """``table`` may be ``schema.table``. Rows carry their ``run_id``. The sha256 is that of the sorted rows (fingerprint.py)."""

    def __init__(self, *, connection: str, table: str, connections: Mapping[str, str]) -> None:
        if not TABLE.fullmatch(table):
            raise errors.Invalid({"table": "This must be a table's name, such as 'forecasts' or 'public.forecasts'."})
        self._name = connection
        self._url = databases.url(connections, connection)
        schema, _, self._table = table.rpartition(".")
        self._schema = schema or None

    @classmethod
    def create(cls, options: Mapping[str, Any], *, ports: Ports) -> Self:
        return cls(**options, connections=ports.connections)

    def write(self, table: pa.Table, *, model_name: str, run_id: str) -> Output:
        """Raises BadData for a table of ours that lacks a column or has another type, Unavailable when the database cannot be reached."""
        if "run_id" not in table.column_names:
            table = table.append_column("run_id", pa.array([run_id] * table.num_rows, pa.string()))
        table = _in_utc(table)
        with databases.writing(self._url, self._name) as connection:
            target = self._prepare(connection, table.schema)
            connection.execute(sa.delete(target).where(target.c.run_id == run_id))
            for batch in table.to_batches(max_chunksize=CHUNK):
                connection.execute(sa.insert(target), batch.to_pylist())
        uri = f"sql://{quote(self._name)}/{quote(self._table)}?run_id={quote(run_id)}"
        return Output(uri=uri, rows=table.num_rows, sha256=fingerprint.sha256(fingerprint.sort(table)))

    def _prepare(self, connection: sa.Connection, schema: pa.Schema) -> sa.Table:
        target = sa.Table(self._table, sa.MetaData(), *(_column(field) for field in schema), schema=self._schema)
        if connection.dialect.name in ONE_AT_A_TIME:
            connection.execute(sa.text(ONE_AT_A_TIME[connection.dialect.name]), {"table": self._table})
        inspector = sa.inspect(connection)
        if not inspector.has_table(self._table, schema=self._schema):
            target.create(connection)
            return target
        present = {column["name"] for column in inspector.get_columns(self._table, schema=self._schema)}
        missing = [name for name in schema.names if name not in present]
        if missing:
            text = f"The table '{self._table}' in '{self._name}' has no column {', '.join(missing)}"
            raise errors.BadData(f"{text}; add the missing columns, or name a table that does not exist yet.")
        return target


def _in_utc(table: pa.Table) -> pa.Table:
    """Instants with UTC as their zone: sqlite stores their digits and drops the zone."""
    kinds = [pa.timestamp("us", "UTC") if pa.types.is_timestamp(f.type) and f.type.tz else f.type for f in table.schema]
    return table.cast(pa.schema([field.with_type(kind) for field, kind in zip(table.schema, kinds, strict=True)]))


def _column(field: pa.Field) -> sa.Column[Any]:
    return sa.Column(field.name, _type(field.type), index=field.name == "run_id")


def _type(kind: pa.DataType) -> sa.types.TypeEngine[Any]:
    if pa.types.is_timestamp(kind):
        return sa.DateTime(timezone=kind.tz is not None)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return sa.Double()
    if pa.types.is_boolean(kind):
        return sa.Boolean()
    if pa.types.is_integer(kind):
        return sa.BigInteger()
    return sa.Date() if pa.types.is_date(kind) else sa.Text()
