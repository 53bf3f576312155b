"""The sha256 of a table's rows: equal for equal rows, whatever their chunks, the file's layout, compression or metadata.

Hashed are: the text ``mlsys-rows-1``; the JSON list of [[column name, canonical type] ..] and the row count; then for each column, in the
table's order, one byte per row (1 present, 0 missing) and the values as little-endian bytes, missing ones as zero. Canonical types:
``instant`` int64 microseconds since 1970 UTC; ``number`` float64 (NaN is missing); ``integer`` int64; ``boolean`` one byte;
``text`` int64 byte lengths and then the UTF-8 bytes. Any other type is hashed as its text. The caller sorts the rows.
"""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def sha256(table: pa.Table) -> str:
    """Hex digest of the rows in the order given."""
    canonical = {name: _canonical(table[name]) for name in table.column_names}
    digest = hashlib.sha256(b"mlsys-rows-1")
    header = [[(name, kind) for name, (kind, _) in canonical.items()], table.num_rows]
    digest.update(json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode())
    for kind, column in canonical.values():
        digest.update(_bytes(pc.is_valid(column), "u1"))
        for part in _values(kind, column):
            digest.update(part)
    return digest.hexdigest()


def sort(table: pa.Table, first: tuple[str, ...] = ()) -> pa.Table:
    """Rows in the one order that equal sets of rows share: by ``first``, then by every other column; missing values last; one chunk."""
    names = list(dict.fromkeys([*first, *table.column_names]))
    return table.sort_by([(name, "ascending") for name in names]).combine_chunks() if names else table


def _canonical(column: pa.ChunkedArray) -> tuple[str, pa.ChunkedArray]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return "instant", column.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64())
    if pa.types.is_floating(kind):
        floats = column.cast(pa.float64())
        return "number", pc.if_else(pc.is_nan(floats), pa.scalar(None, pa.float64()), floats)
    if pa.types.is_boolean(kind):
        return "boolean", column
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return "integer", column.cast(pa.int64())
    return "text", column.cast(pa.large_string())


def _values(kind: str, column: pa.ChunkedArray) -> list[bytes]:
    if kind != "text":
        zero = {"boolean": False, "number": 0.0}.get(kind, 0)
        return [_bytes(pc.fill_null(column, zero), {"number": "<f8", "boolean": "u1"}.get(kind, "<i8"))]
    filled = pc.fill_null(column, "")
    # Arrow lays short texts end to end: one array without an offset gives all the bytes at once
    whole = pa.concat_arrays([pa.array([], pa.large_string()), *filled.chunks])
    start, end = (int(np.frombuffer(whole.buffers()[1], "<i8")[whole.offset + at]) for at in (0, len(whole))) if len(whole) else (0, 0)
    data = whole.buffers()[2]
    return [_bytes(pc.binary_length(filled), "<i8"), bytes(data[start:end]) if data is not None else b""]


def _bytes(column: pa.ChunkedArray, kind: str) -> bytes:
    return np.ascontiguousarray(column.to_numpy(), dtype=kind).tobytes()
