"""Parquet bodies: their index stands at the end, so they are spooled to a file first; then read in batches, whatever the row groups are.

A small file can claim billions of rows or repeat one long text: rows are capped from the index, texts are looked at while still coded.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlsys import errors
from mlsys.pipelines import names
from mlsys.records import Dataset
from mlsys.timetravel import fitting

BATCH = 65_536
GROUP_LIMIT = 2**31


def tables(body: IO[bytes], dataset: Dataset, *, spool: Path, max_rows: int) -> Iterator[pa.Table]:
    """A table for each batch. Raises Invalid naming the column, Malformed for a damaged file, TooLarge past ``max_rows``."""
    spool.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=spool) as file:
        shutil.copyfileobj(body, file, 2**20)
        file.seek(0)
        try:
            yield from _tables(file, dataset, max_rows)
        except (pa.ArrowException, OSError, ValueError):
            raise errors.Malformed("The body is damaged or is not a parquet file; write it again.") from None


def _tables(file: IO[bytes], dataset: Dataset, max_rows: int) -> Iterator[pa.Table]:
    with pq.ParquetFile(file) as opened:
        about, schema = opened.metadata, opened.schema_arrow
        if about.num_rows > max_rows:
            raise errors.TooLarge(f"One append takes {max_rows:,} rows at most; send the rest in another.")
        if any(about.row_group(i).total_byte_size > GROUP_LIMIT for i in range(about.num_row_groups)):
            raise errors.TooLarge("A row group of this file is larger than 2 GiB; write it with smaller ones.")
        wanted = [name for name in schema.names if not name.startswith(names.INDEX)]
        fitting.names(wanted, dataset)
    file.seek(0)
    coded = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    with pq.ParquetFile(file, read_dictionary=coded, pre_buffer=False) as opened:
        for batch in opened.iter_batches(BATCH, columns=wanted, use_threads=False):
            yield _decoded(pa.table(batch))


def _decoded(table: pa.Table) -> pa.Table:
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            for chunk in table[field.name].chunks:
                longest = pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0
                if longest > fitting.LONGEST:
                    raise errors.Invalid({field.name: f"A text of {longest} bytes; {fitting.LONGEST} are the most."})
            table = table.set_column(at, field.name, table[field.name].cast(pa.string()))
    return table.replace_schema_metadata(None)
