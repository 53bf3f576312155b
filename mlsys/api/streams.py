"""Rows of data as an answer: all of them streamed as CSV or parquet, and values as JSON takes them. Which rows is not known here."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flask import Response, request

from mlsys.clock import rfc3339
from mlsys.places import Places
from mlsys.timetravel.arrivals import CSV, PARQUET

if TYPE_CHECKING:
    import pyarrow as pa

JSON = "application/json"


def wanted() -> str:
    """The type that the caller likes best."""
    return request.accept_mimetypes.best_match((JSON, CSV, PARQUET), default=JSON) or JSON


def answer(rows: "AbstractContextManager[pa.RecordBatchReader]", type: str, *, name: str, places: Places) -> Response:
    """All rows, as a file to keep. The first batch is read before the answer begins, so that what is wrong is still told as an error.

    However slowly it is read, such an answer has a thread of the server to itself: hence the ``places``. Raises Unavailable.
    """
    with ExitStack() as stack:
        stack.enter_context(places.one())
        reader = stack.enter_context(rows)
        first = next(iter(reader), None)
        kept = stack.pop_all()
    writer = _csv if type == CSV else _parquet
    response = Response(_closing(kept, writer(reader.schema, _batches(first, reader))), content_type=type)
    response.call_on_close(kept.close)
    suffix = "csv" if type == CSV else "parquet"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.{suffix}"'
    response.headers["Vary"] = "Accept"
    return response


def _closing(kept: ExitStack, parts: Iterator[bytes]) -> Iterator[bytes]:
    with kept:
        yield from parts


def _batches(first: "pa.RecordBatch | None", reader: "pa.RecordBatchReader") -> "Iterator[pa.RecordBatch]":
    if first is not None:
        yield first
        yield from reader


def _csv(schema: "pa.Schema", batches: "Iterator[pa.RecordBatch]") -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as pacsv

    options = pacsv.WriteOptions(include_header=False, quoting_style="needed")
    yield (",".join('"' + name.replace('"', '""') + '"' for name in schema.names) + "\n").encode()
    for batch in batches:
        columns = {}
        for field in schema:
            column = batch.column(field.name)
            columns[field.name] = pc.strftime(column, "%Y-%m-%dT%H:%M:%SZ") if pa.types.is_timestamp(field.type) else column
        sink = pa.BufferOutputStream()
        pacsv.write_csv(pa.table(columns), sink, options)
        yield sink.getvalue().to_pybytes()


def _parquet(schema: "pa.Schema", batches: "Iterator[pa.RecordBatch]") -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = _Pieces()
    writer = pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema)
    for batch in batches:
        writer.write_batch(batch)
        yield sink.take()
    writer.close()
    yield sink.take()


class _Pieces:
    """A file that hands out what was written to it since the last time."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        found, self._parts = b"".join(self._parts), []
        return found


def plain(value: Any) -> Any:
    return rfc3339(value) if isinstance(value, datetime) else value
