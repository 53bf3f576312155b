"""Rows on their way into one immutable file: sorted by timestamp and series key, each key once, hashed as they go, in bounded memory.

Sorted by time first, not by series: every read asks for a window of time, so that row groups outside of it are never opened.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlsys import errors
from mlsys.clock import rfc3339
from mlsys.ids import new_id
from mlsys.records import Blob, Dataset
from mlsys.storage.artifacts import BlobWriter, FolderBlobs
from mlsys.timetravel import asof, files
from mlsys.timetravel.engine import Engine

GROUP_BYTES = 32 * 2**20


@dataclass(frozen=True, kw_only=True)
class Written:
    """A stored file. ``created``: the first and last created_at given; None where the database stamps the rows."""

    blob: Blob
    rows: int
    first: datetime
    last: datetime
    created: tuple[datetime, datetime] | None


def store(tables: Iterable[pa.Table], dataset: Dataset, *, given: bool, blobs: FolderBlobs, engine: Engine) -> Written:
    """Stores fitted rows in any order. Raises Invalid for none at all, and for a key that comes twice with the same created_at."""
    with blobs.writing() as writer:
        with Sheet(writer, dataset, given=given) as sheet:
            for table in _groups(tables):
                sheet.add(_sorted(table, dataset))
        if not sheet.ascending:
            writer.discard()
            writer.flush()
            columns = [column.name for column in files.columns_of(dataset)]
            query = asof.successors(dataset, columns, writer.path, given=given)
            return rewrite(query, dataset, given=given, blobs=blobs, engine=engine)
    return sheet.written(writer)


def rewrite(query: str, dataset: Dataset, *, given: bool, blobs: FolderBlobs, engine: Engine, compacted: bool = False) -> Written:
    """Stores what a query of the engine gives, in the order that it has."""
    with engine.cursor() as cursor, blobs.writing() as writer, Sheet(writer, dataset, given=given, compacted=compacted) as sheet:
        for batch in cursor.sql(query).to_arrow_reader(files.ROW_GROUP):
            sheet.add(pa.table(batch).cast(sheet.schema))
    return sheet.written(writer)


class Sheet:
    """One parquet file being written. ``ascending``: so far each row's key was greater than the one before."""

    def __init__(self, writer: BlobWriter, dataset: Dataset, *, given: bool, compacted: bool = False) -> None:
        columns = files.columns_of(dataset)
        ours = [files.CREATED, files.SUPERSEDED] if given else []
        plain = files.schema(columns, *ours, *([files.FILE] if compacted else []))
        # two files never have the same bytes, so that the life of one is no other's business
        self.schema = plain.with_metadata({"mlsys.dataset": dataset.name, "mlsys.file": new_id()})
        self._dataset, self._given, self._compacted = dataset, given, compacted
        coded = [column.name for column in columns if column.type == "text" or column.name in dataset.keys]
        self._writer = pq.ParquetWriter(pa.PythonFile(writer, mode="w"), self.schema, use_dictionary=coded or False, compression="snappy")
        self._last: pa.Table | None = None
        self._first: datetime | None = None
        self._created: list[datetime] = []
        self.rows = 0
        self.ascending = True

    def add(self, table: pa.Table) -> None:
        if not table.num_rows:
            return
        if self._given and files.SUPERSEDED not in table.column_names:
            table = table.append_column(files.SUPERSEDED, pa.nulls(table.num_rows, files.instant()))
        self._check(table)
        keep = table.slice(table.num_rows - 1)
        at = table[self._dataset.timestamp]
        self._first = at[0].as_py() if self._first is None else min(self._first, at[0].as_py())
        if self._given:
            span = pc.min_max(table[files.CREATED]).as_py()
            self._created = [min([*self._created, span["min"]]), max([*self._created, span["max"]])]
        self._writer.write_table(table.select(self.schema.names).cast(self.schema), row_group_size=files.ROW_GROUP)
        self.rows += table.num_rows
        self._last = keep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()
        if error is None and not self.rows:
            raise errors.Invalid({"rows": "There is no row to append."})

    def written(self, writer: BlobWriter) -> Written:
        if writer.blob is None or self._first is None or self._last is None:
            raise RuntimeError("a sheet is told of only once its writer has stored it")
        created = (self._created[0], self._created[1]) if self._given else None
        last: datetime = self._last[self._dataset.timestamp][0].as_py()
        return Written(blob=writer.blob, rows=self.rows, first=self._first, last=last, created=created)

    def _check(self, table: pa.Table) -> None:
        """Notes whether keys ascend; raises Invalid for two rows that nothing tells apart."""
        keys = table.select([*self._dataset.keys, *([files.CREATED, files.SUPERSEDED] if self._given else [])])
        if self._last is not None:
            keys = pa.concat_tables([self._last.select(keys.column_names), keys])
        less, equal = _compare(keys, self._dataset.keys)
        if self._compacted:
            return
        twice = equal
        if self._given:
            created = keys[files.CREATED].combine_chunks()
            twice = equal & pc.equal(created[1:], created[:-1]).to_numpy(zero_copy_only=False)
        if twice.any():
            self._refuse(keys.slice(int(np.argmax(twice)), 1))
        self.ascending = self.ascending and bool(less.all())

    def _refuse(self, row: pa.Table) -> None:
        found = row.select(list(self._dataset.keys)).to_pylist()[0]
        told = ", ".join(f"{name} {rfc3339(value) if isinstance(value, datetime) else value}" for name, value in found.items())
        text = f"Two rows for {told}: one append may say each only once. Keep the right one."
        raise errors.Invalid({self._dataset.timestamp: text}, "The rows do not fit the data set.")


def _groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Small tables put together until a group is large enough to be worth its place in the file."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(each.nbytes for each in held) >= GROUP_BYTES:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def _sorted(table: pa.Table, dataset: Dataset) -> pa.Table:
    """By key; rows that arrive in order are not touched."""
    less, equal = _compare(table, dataset.keys)
    if (less | equal).all():
        return table
    by = [*dataset.keys, *([files.CREATED] if files.CREATED in table.column_names else [])]
    return table.sort_by([(name, "ascending") for name in by])


def _compare(table: pa.Table, keys: tuple[str, ...]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Of each row and the next: whether its key is less, and whether it is equal."""
    count = max(0, table.num_rows - 1)
    less, equal = np.zeros(count, dtype=bool), np.ones(count, dtype=bool)
    for name in keys:
        if not equal.any():
            break
        column = table[name].combine_chunks()
        values = column.cast(pa.int64()).to_numpy() if pa.types.is_timestamp(column.type) else column
        this, following = values[:-1], values[1:]
        if isinstance(values, np.ndarray):
            smaller, same = this < following, this == following
        else:
            smaller, same = (test(this, following).to_numpy(zero_copy_only=False) for test in (pc.less, pc.equal))
        less |= equal & smaller
        equal &= same
    return less, equal
