"""Source ``{type: parquet, path: ...}``: a parquet file, or a folder of them, below a data root.

Reads only the columns asked for, and only the row groups whose statistics say that they may hold rows of the window. Which of those rows
are in the window is decided in reading.cut(), as for every source.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from mlsys import errors
from mlsys.pipelines import columns, frames, reading
from mlsys.pipelines.base import DataFiles, DataSource, Ports, Query
from mlsys.records import Window

FORMAT = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(coerce_int96_timestamp_unit="us"))
MOST_VALUES = 200_000_000  # 1.6 GB as float64
SCAN = ds.ParquetFragmentScanOptions(page_checksum_verification=True)


class ParquetSource(DataSource):
    """``path`` is resolved at once (Invalid({"file_path": ...}) if it names nothing that may be read); files are opened only to read."""

    def __init__(self, *, path: str, files: DataFiles) -> None:
        self._files = files
        self._paths = files.resolve(path)

    @classmethod
    def create(cls, options: Mapping[str, Any], *, ports: Ports) -> Self:
        return cls(**options, files=ports.files)

    def get_dataframe(self) -> pd.DataFrame:
        return frames.to_pandas(reading.together(self._scan(path) for path in self._paths))

    def schema(self) -> pa.Schema:
        """From the footers alone; of a folder, the columns of all files together."""
        found = []
        for path in self._paths:
            with self._fragment(path) as fragment:
                schema = fragment.physical_schema.remove_metadata()
                columns.require(schema.names, schema.names)
                found.append(schema)
        return reading.together(schema.empty_table() for schema in found).schema

    def read(self, query: Query) -> pa.Table:
        return reading.together(reading.typed(reading.cut(self._scan(path, query), query), query.layout) for path in self._paths)

    def _scan(self, path: Path, query: Query | None = None) -> pa.Table:
        with self._fragment(path) as fragment:
            schema = fragment.physical_schema
            names = list(schema.names) if query is None else _needed(query, schema.names)
            columns.require(schema.names, names)
            rows = _row_filter(schema, query) if query else None
            _refuse_flood(fragment, rows, len(names))
            wanted = {name: ds.field(name) for name in names}
            table = fragment.to_table(columns=wanted, filter=rows, use_threads=False, fragment_scan_options=SCAN)
            return table.replace_schema_metadata(None)

    @contextmanager
    def _fragment(self, path: Path) -> Iterator[ds.ParquetFileFragment]:
        with self._files.open_file(path) as handle:
            try:
                yield FORMAT.make_fragment(handle)
            except (pa.ArrowException, OSError, ValueError):
                raise errors.BadData(f"'{path.name}' is damaged or is not a parquet file; write it again or name another file.") from None
            except errors.MissingColumn as error:
                raise errors.MissingColumn(f"'{path.name}': {error.message}") from None


def _refuse_flood(fragment: ds.ParquetFileFragment, rows: ds.Expression | None, columns_read: int) -> None:
    """A small file can unpack to more than the memory holds; its footer says so before anything is read."""
    kept = fragment if rows is None else fragment.subset(rows)
    held = sum(group.num_rows for group in kept.row_groups)
    if held * columns_read > MOST_VALUES:
        text = f"The window touches about {held:,} rows of {columns_read} columns, more than can be read at once"
        raise errors.BadData(f"{text} ({MOST_VALUES:,} values): ask for a shorter window, or name fewer exogenous columns.")


def _needed(query: Query, present: list[str]) -> list[str]:
    """The columns asked for, and the timestamp for the window."""
    timed = [query.layout.timestamp] if query.window else []
    return list(dict.fromkeys([*(present if query.columns is None else query.columns), *timed]))


def _row_filter(schema: pa.Schema, query: Query) -> ds.Expression | None:
    """A filter a little wider than the window, in the column's own type so that row-group statistics apply; None where none can be."""
    name = query.layout.timestamp
    if query.window is None or schema.get_field_index(name) < 0:
        return None
    kind = schema.field(name).type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return None
    try:
        low, high = _bounds(kind, query.window)
    except (OverflowError, pa.ArrowInvalid):  # a window beyond what the column's unit can express
        return None
    return (ds.field(name) >= low) & (ds.field(name) <= high)


def _bounds(kind: pa.DataType, window: Window) -> tuple[pa.Scalar, pa.Scalar]:
    aware = pa.types.is_timestamp(kind) and kind.tz is not None
    margin = timedelta(seconds=1) if aware else timedelta(days=2)  # units coarser than microseconds; local times and dates
    zone = "UTC" if aware else None
    ends = (pa.scalar(end if aware else end.replace(tzinfo=None), pa.timestamp("us", zone)) for end in _widened(window, margin))
    low, high = (end.cast(kind, safe=False) if pa.types.is_timestamp(kind) else end.cast(pa.date32()).cast(kind) for end in ends)
    return low, high


def _widened(window: Window, margin: timedelta) -> tuple[Any, Any]:
    return window.start - margin, window.end + margin
