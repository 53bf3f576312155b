"""CSV bodies: a header, then rows, read block by block. Numbers are parsed by Arrow; a block it refuses is looked at again as text."""

import re
from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.csv as pacsv

from mlsys import errors
from mlsys.records import Dataset
from mlsys.timetravel import files, fitting

BLOCK = 2**20
MISSING = ["", "NaN", "nan", "NA", "N/A", "null", "NULL", "None"]
_CONVERSION = re.compile(r"In CSV column #(?P<column>\d+): (?:Row #(?P<row>\d+): )?.*?invalid value '(?P<value>.*?)'", re.DOTALL)


def tables(body: IO[bytes], dataset: Dataset) -> Iterator[pa.Table]:
    """A table for each block. Raises Invalid naming the column, Malformed for what is not CSV in UTF-8."""
    names: list[str] = []
    try:
        head = _Peeked(body)
        names = head.header()
        given = fitting.names(names, dataset)
        with pacsv.open_csv(
            head,
            pacsv.ReadOptions(use_threads=False, block_size=BLOCK),
            pacsv.ParseOptions(newlines_in_values=False),
            _conversion(names, dataset, given=given),
        ) as reader:
            for batch in reader:
                yield pa.table(batch)
    except pa.ArrowInvalid as error:
        raise _told(error, names) from None
    except UnicodeDecodeError:
        raise errors.Malformed("The body is not CSV in UTF-8.") from None


def _conversion(names: list[str], dataset: Dataset, *, given: bool) -> pacsv.ConvertOptions:
    instants = [dataset.timestamp, *([dataset.created_at] if given else [])]
    types = {column.name: files.arrow_type(column.type) for column in dataset.columns or () if column.type != "timestamp"}
    texts = dict.fromkeys([*instants, *(column.name for column in dataset.columns or () if column.type == "timestamp")], pa.string())
    return pacsv.ConvertOptions(
        column_types={name: type for name, type in (types | texts).items() if name in names},
        null_values=MISSING,
        strings_can_be_null=True,
        true_values=["true", "True", "TRUE", "1"],
        false_values=["false", "False", "FALSE", "0"],
    )


def _told(error: pa.ArrowInvalid, names: list[str]) -> errors.MlsysError:
    found = _CONVERSION.search(str(error))
    if found is not None and int(found["column"]) < len(names):
        where = f" (line {found['row']})" if found["row"] else ""
        value = found["value"][:60]
        return errors.Invalid({names[int(found["column"])]: f"'{value}'{where} is not what the data set holds here; correct the value."})
    if "straddling" in str(error):
        return errors.TooLarge(f"A row of more than {BLOCK:,} bytes; is a quote or line break missing?")
    ragged = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)|Expected (\d+) columns, got (\d+)", str(error))
    if ragged is not None:
        return errors.Invalid({"rows": f"{ragged[0].split(':')[0] if ragged[1] else 'A row'}: not as many values as the header has names."})
    return errors.Malformed("The body is not CSV in UTF-8 with a header; its first row must name the columns.")


class _Peeked:
    """The body, whose first line has been looked at, as a file for Arrow."""

    def __init__(self, body: IO[bytes]) -> None:
        self._body = body
        self._held = b""
        self.closed = False

    def header(self) -> list[str]:
        while b"\n" not in self._held and len(self._held) < BLOCK:
            chunk = self._body.read(65536)
            if not chunk:
                break
            self._held += chunk
        line, newline, _ = self._held.partition(b"\n")
        if not line.strip() or (not newline and len(self._held) >= BLOCK):
            raise errors.Malformed("The body holds no header row; its first row must name the columns.")
        line.decode("utf-8-sig")
        if len(re.sub(rb'"[^"]*"', b"", line).split(b",")) > fitting.MOST_COLUMNS:  # Arrow takes seconds for the header of 100,000
            raise errors.TooLarge(f"A data set takes {fitting.MOST_COLUMNS:,} columns at most.")
        with pacsv.open_csv(pa.BufferReader(line.rstrip(b"\r") + b"\n"), pacsv.ReadOptions(use_threads=False)) as reader:
            return [str(name) for name in reader.schema.names]

    def read(self, size: int = -1) -> bytes:
        """As many bytes as asked for, unless it ends: Arrow takes a short answer for a whole block."""
        parts, missing = [], size if size >= 0 else 2**62
        while missing and (chunk := self._held[:missing] or self._body.read(min(missing, BLOCK))):
            self._held = self._held[len(chunk) :]
            parts.append(chunk)
            missing -= len(chunk)
        return b"".join(parts)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
