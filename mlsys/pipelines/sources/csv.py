"""Source ``{type: csv, path: ...}``: a CSV file in UTF-8 with a header row, or a folder of them. Typed, never silently changed.

Missing is the empty value and those listed in ``nulls``, nothing else. Key columns are text, target and exogenous columns numbers,
timestamps ISO 8601 or ``timestamp_format``; a value that does not parse is an error that names column, row (the header is row 1, empty
lines are not counted) and value. A column without a role is numeric if most of its values are numbers without leading zeros: then all
of them must be.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from mlsys import errors
from mlsys.pipelines import columns, frames, reading, timestamps
from mlsys.pipelines.base import DataFiles, DataSource, Ports, Query
from mlsys.records import Layout

FIRST_ROW = 2
CODE = r"^[+-]?0\d"


class CsvSource(DataSource):
    """``delimiter``: one character; ``decimal``: ``.`` or ``,``; ``timestamp_format``: strptime codes; ``nulls``: texts for missing."""

    def __init__(
        self,
        *,
        path: str,
        files: DataFiles,
        delimiter: str = ",",
        decimal: str = ".",
        timestamp_format: str | None = None,
        nulls: Sequence[str] = (),
    ) -> None:
        if len(delimiter) != 1 or delimiter in '\r\n"' or not delimiter.isascii():
            raise errors.Invalid({"delimiter": "This must be one ASCII character, such as ',' or ';'."})
        if decimal not in (".", ",") or decimal == delimiter:
            raise errors.Invalid({"decimal": "This must be '.' or ',', and not the delimiter."})
        self._files = files
        self._paths = files.resolve(path)
        self._parse = {"delimiter": delimiter, "newlines_in_values": True}
        self._decimal = decimal
        self._timestamp_format = timestamp_format
        self._nulls = ["", *nulls]

    @classmethod
    def create(cls, options: Mapping[str, Any], *, ports: Ports) -> Self:
        return cls(**options, files=ports.files)

    def get_dataframe(self) -> pd.DataFrame:
        """Columns of numbers alone as numbers, all others as text; only a layout would tell which are timestamps or must be numbers."""
        table = reading.together(self._texts(path) for path in self._paths)
        for at, name in enumerate(table.column_names):
            if self._numbers_only(table[name]):
                table = table.set_column(at, name, self._number(table[name], name))
        return frames.to_pandas(table)

    def schema(self) -> pa.Schema:
        found = []
        for path in self._paths:
            table = self._texts(path)
            kinds = [pa.float64() if self._mostly_numbers(table[name]) else pa.string() for name in table.column_names]
            found.append(pa.schema(list(zip(table.column_names, kinds, strict=True))))
        return reading.together(schema.empty_table() for schema in found).schema

    def read(self, query: Query) -> pa.Table:
        return reading.together(self._read(path, query) for path in self._paths)

    def _read(self, path: Path, query: Query) -> pa.Table:
        with _naming(path):
            table = self._typed(self._texts(path, query), query.layout)
            return reading.cut(table, query, first_row=FIRST_ROW)

    def _typed(self, table: pa.Table, layout: Layout) -> pa.Table:
        numbers = {layout.target, *(layout.exogenous or ())}
        times = {layout.timestamp, layout.created_at}
        for at, name in enumerate(table.column_names):
            if name in times:
                table = self._timed(table, name, layout)
            elif name not in layout.series_key and (name in numbers or self._mostly_numbers(table[name])):
                table = table.set_column(at, name, self._number(table[name], name))
        return table

    def _timed(self, table: pa.Table, name: str, layout: Layout) -> pa.Table:
        expected = f"a timestamp like '{self._timestamp_format}'"
        if name == layout.timestamp:
            columns.refuse_unless(pc.is_valid(table[name]), table[name], name, "a timestamp", FIRST_ROW)
        if self._timestamp_format:
            table = table.set_column(table.column_names.index(name), name, _strptime(table[name], name, self._timestamp_format, expected))
        return timestamps.in_utc(table, name, timezone=layout.timezone, first_row=FIRST_ROW) if name != layout.timestamp else table

    @property
    def _pattern(self) -> str:
        return columns.NUMBER if self._decimal == "." else columns.NUMBER.replace(r"\.", ",")

    def _mostly_numbers(self, column: pa.ChunkedArray) -> bool:
        return bool(self._numbers(column) * 2 > len(column) - column.null_count)

    def _numbers_only(self, column: pa.ChunkedArray) -> bool:
        return bool(0 < self._numbers(column) == len(column) - column.null_count)

    def _numbers(self, column: pa.ChunkedArray) -> int:
        """How many values are numbers; one with a leading zero is taken for a code."""
        number = pc.and_(pc.match_substring_regex(column, self._pattern), pc.invert(pc.match_substring_regex(column, CODE)))
        return int(pc.sum(number).as_py() or 0)

    def _number(self, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
        columns.refuse_unless(pc.match_substring_regex(column, self._pattern), column, name, "a number", FIRST_ROW)
        return columns.number(pc.replace_substring(column, self._decimal, "."), name, FIRST_ROW)

    def _texts(self, path: Path, query: Query | None = None) -> pa.Table:
        """The columns a query needs (all by default) as text."""
        with self._files.open_file(path) as handle:
            data = handle.read()
        _refuse_binary(data, path.name)
        try:
            present = self._header(data)
        except pa.ArrowInvalid:
            raise errors.BadData(f"'{path.name}' holds no header row; its first row must name the columns.") from None
        wanted = present if query is None or query.columns is None else dict.fromkeys([*query.columns, query.layout.timestamp])
        columns.require(present, [*present, *wanted])
        return self._rows(data, list(wanted), path.name)

    def _header(self, data: bytes) -> list[str]:
        options = pacsv.ParseOptions(**self._parse, invalid_row_handler=lambda row: "skip")
        with pacsv.open_csv(pa.BufferReader(data), parse_options=options) as reader:  # reads the first block
            return list(reader.schema.names)

    def _rows(self, data: bytes, names: list[str], file: str) -> pa.Table:
        ragged: list[pacsv.InvalidRow] = []

        def keep(row: pacsv.InvalidRow) -> str:
            ragged.append(row)
            return "skip"

        table = pacsv.read_csv(
            pa.BufferReader(data),
            read_options=pacsv.ReadOptions(use_threads=False),
            parse_options=pacsv.ParseOptions(**self._parse, invalid_row_handler=keep),
            convert_options=pacsv.ConvertOptions(
                include_columns=names, column_types=dict.fromkeys(names, pa.string()), null_values=self._nulls, strings_can_be_null=True
            ),
        )
        if ragged:
            row = ragged[0]
            text = f"'{file}', row {row.number}: {row.actual_columns} values where the header names {row.expected_columns} columns"
            remedy = "is `delimiter` right (and `decimal`)?" if row.expected_columns == 1 else "correct that row."
            raise errors.BadData(f"{text}; {remedy}")
        return table


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors about a column say which file it is in."""
    try:
        yield
    except (errors.MissingColumn, errors.WrongType) as error:
        raise type(error)(f"'{path.name}': {error.message}") from None


def _refuse_binary(data: bytes, file: str) -> None:
    at, problem = data.find(b"\0"), "a NUL byte"
    if at < 0:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            at, problem = error.start, "bytes that are not UTF-8"
    if at >= 0:
        line = data.count(b"\n", 0, at) + 1
        raise errors.BadData(f"'{file}' holds {problem} in line {line}; save it as CSV in UTF-8.")


def _strptime(column: pa.ChunkedArray, name: str, form: str, expected: str) -> pa.ChunkedArray:
    parsed = pd.to_datetime(frames.to_pandas(pa.table({name: column}))[name], format=form, errors="coerce", utc="%z" in form)
    found = pa.chunked_array([pa.array(parsed, from_pandas=True)])
    columns.refuse_unless(pc.or_(pc.is_valid(found), pc.is_null(column)), column, name, expected, FIRST_ROW)
    return found
