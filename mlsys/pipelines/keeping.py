"""Rows of a prediction in the form in which they are kept: one shape for all models, and nothing in the bytes that a repetition changes.

Who made them, for which run and when is for the registry to say.
"""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlsys.pipelines import names
from mlsys.pipelines.base import BlobStore
from mlsys.records import KeptRows, Layout


def keep(table: pa.Table, layout: Layout, blobs: BlobStore) -> KeptRows:
    """Stores the rows as parquet. ``table`` is as a destination gets it and has a row at least."""
    rows = table.drop_columns([name for name in (names.CREATED_AT, names.MODEL_VERSION, names.RUN) if name in table.column_names])
    rows = rows.rename_columns([names.TIMESTAMP if name == layout.timestamp else name for name in rows.column_names])
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    at, issued = (pc.min_max(rows[name]).as_py() for name in (names.TIMESTAMP, names.ISSUED_AT))
    return KeptRows(
        blob=blobs.put(sink.getvalue().to_pybytes()),
        rows=rows.num_rows,
        series_key=layout.series_key,
        first_timestamp=at["min"],
        last_timestamp=at["max"],
        first_issued_at=issued["min"],
        last_issued_at=issued["max"],
    )
