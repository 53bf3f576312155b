"""Rows as they arrive: a body of JSON, NDJSON, CSV or parquet to fitted tables, one after the other, never the whole in memory."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mlsys import errors
from mlsys.records import Dataset

if TYPE_CHECKING:
    import pyarrow as pa

JSON, NDJSON, CSV, PARQUET = "application/json", "application/x-ndjson", "text/csv", "application/vnd.apache.parquet"
SUFFIXES = {".json": JSON, ".ndjson": NDJSON, ".jsonl": NDJSON, ".csv": CSV, ".parquet": PARQUET, ".pq": PARQUET}


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """Fitted rows of one append. ``dataset``: with the columns that its first rows decided, where it had none. ``given``: with CREATED."""

    dataset: Dataset
    given: bool
    tables: "Iterator[pa.Table]"


def read(body: IO[bytes], type: str, dataset: Dataset, *, max_rows: int, spool: Path) -> Arrival:
    """The rows of a body. ``tables`` raises Invalid at the first row that does not fit, TooLarge past ``max_rows``.

    Raises Invalid, and Malformed for a body that is not of its type. ``spool``: where a parquet body is put to be read at random.
    """
    from mlsys.timetravel import csv_rows, json_rows, parquet_rows

    readers: dict[str, Callable[[], Iterator[pa.Table]]] = {
        JSON: lambda: json_rows.tables(json_rows.lines_of_array(body), dataset),
        NDJSON: lambda: json_rows.tables(json_rows.lines(body), dataset),
        CSV: lambda: csv_rows.tables(body, dataset),
        PARQUET: lambda: parquet_rows.tables(body, dataset, spool=spool, max_rows=max_rows),
    }
    return _fitted(readers[type](), dataset, max_rows)


def of_tables(tables: "Iterator[pa.Table]", dataset: Dataset, *, max_rows: int) -> Arrival:
    """The same for rows that are in Arrow form already."""
    return _fitted(tables, dataset, max_rows)


def _fitted(tables: "Iterator[pa.Table]", dataset: Dataset, max_rows: int) -> Arrival:
    from mlsys.timetravel import fitting

    first = next((table for table in tables if table.num_rows), None)
    if first is None:
        raise errors.Invalid({"rows": "There is no row to append."})
    given = fitting.names(first.column_names, dataset) and first[dataset.created_at].null_count < first.num_rows
    if dataset.columns is None:
        dataset = replace(dataset, columns=fitting.infer(first, dataset))
    known = dataset

    def fitted() -> "Iterator[pa.Table]":
        count = 0
        for table in itertools.chain([first], tables):
            if count + table.num_rows > max_rows:
                raise errors.TooLarge(f"One append takes {max_rows:,} rows at most; send the rest in another.")
            if not given and dataset.created_at in table.column_names and table[dataset.created_at].null_count < table.num_rows:
                raise errors.Invalid({dataset.created_at: "Some rows say it and some do not; give it for every row or for none."})
            yield fitting.fit(table, known, given=given, first_row=count + 1)
            count += table.num_rows

    return Arrival(dataset=known, given=given, tables=fitted())
