"""JSON bodies: an array of objects (or {"rows": [..]}), or one object a line. Split by vectorised scans, parsed by Arrow's own parser.

Python's json looks at the first row, and at a block that Arrow refused, to say what is wrong with it.
"""

import json
import re
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson

from mlsys import errors
from mlsys.records import Dataset
from mlsys.timetravel import files, fitting

CHUNK = 2**20
LONGEST_ROW = 2**22
OPENING = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*(?P<object>\{\s*\"rows\"\s*:\s*)?\[")
QUOTE, BACKSLASH, COMMA = ord('"'), ord("\\"), ord(",")


def lines(body: IO[bytes]) -> Iterator[bytes]:
    """Blocks of whole lines."""
    held = b""
    while chunk := body.read(CHUNK):
        whole, newline, held = (held + chunk).rpartition(b"\n")
        if newline:
            yield whole + newline
        _refuse_long(held)
    if held.strip():
        yield held


def lines_of_array(body: IO[bytes]) -> Iterator[bytes]:
    """The objects of an array, one a line. Raises Malformed for what is no array of objects."""
    held = body.read(CHUNK)
    found = OPENING.match(held)
    if found is None:
        raise _malformed('The body must be an array of objects, or {"rows": [..]}')
    splitter, held = _Splitter(), held[found.end() :]
    while True:
        block = splitter.feed(held)
        if block.strip():
            yield block
        if splitter.rest is not None:
            break
        held = body.read(CHUNK)
        if not held:
            raise _malformed("The array does not end")
    rest = splitter.rest + body.read(CHUNK)
    if rest.split() != ([b"}"] if found["object"] else []) or body.read(1):
        raise _malformed("There is something after the array")


class _Splitter:
    """Finds the commas between the array's elements; ``rest``: what came after its end, None before it."""

    def __init__(self) -> None:
        self._held = b""
        self._after_object = False
        self._any = False
        self.rest: bytes | None = None

    def feed(self, chunk: bytes) -> bytes:
        """The whole elements so far, one a line."""
        data = self._held + chunk
        codes = np.frombuffer(data, dtype=np.uint8)
        outside = ~_in_string(codes)
        opens = outside & ((codes == ord("{")) | (codes == ord("[")))
        closes = outside & ((codes == ord("}")) | (codes == ord("]")))
        depth = np.cumsum(opens.astype(np.int32) - closes)
        ends = np.flatnonzero(depth < 0)
        end = int(ends[0]) if len(ends) else len(data)
        commas = np.flatnonzero(outside[:end] & (codes[:end] == COMMA) & (depth[:end] == 0))
        self._check(codes, np.flatnonzero(opens[:end] & (depth[:end] == 1)), commas, ended=bool(len(ends)))
        return self._cut(data, codes, outside, commas, end, ended=bool(len(ends)))

    def _check(self, codes: Any, starts: Any, commas: Any, *, ended: bool) -> None:
        """Objects and commas must take turns. What is held back for the next round is not looked at yet."""
        last = int(commas[-1]) if len(commas) else -1
        starts = starts if ended else starts[starts <= last]
        at = np.concatenate([starts, commas])
        kinds = np.concatenate([np.ones(len(starts), dtype=bool), np.zeros(len(commas), dtype=bool)])[np.argsort(at)]
        expected = np.arange(len(kinds)) % 2 == (1 if self._after_object else 0)
        if (kinds != expected).any() or (codes[starts] != ord("{")).any():
            raise _malformed("The array must hold objects with one comma between two")
        if len(kinds):
            self._after_object, self._any = bool(kinds[-1]), True
        if ended and self._any and not self._after_object:
            raise _malformed("The array must hold objects with one comma between two")

    def _cut(self, data: bytes, codes: Any, outside: Any, commas: Any, end: int, *, ended: bool) -> bytes:
        last = end if ended else (int(commas[-1]) + 1 if len(commas) else 0)
        out = codes[:last].copy()
        out[outside[:last] & ((out == 10) | (out == 13))] = 32
        out[commas[commas < last]] = 10
        self._held = data[last:]
        _refuse_long(self._held if not ended else b"")
        if ended:
            self.rest = data[end + 1 :]
        return bytes(out)


def _in_string(codes: Any) -> Any:
    """Which bytes lie inside a string (its opening quote included)."""
    quotes = codes == QUOTE
    slashes = codes == BACKSLASH
    if slashes.any():
        index = np.arange(len(codes))
        last_other = np.maximum.accumulate(np.where(slashes, -1, index))
        run = np.zeros(len(codes), dtype=np.int64)
        run[1:] = index[:-1] - last_other[:-1]
        quotes = quotes & (run % 2 == 0)
    return np.cumsum(quotes) % 2 == 1


def tables(blocks: Iterator[bytes], dataset: Dataset) -> Iterator[pa.Table]:
    """A table for each block of lines. Raises Invalid naming the column, Malformed naming the row."""
    schema: pa.Schema | None = None
    row = 1
    for block in blocks:
        if not block.strip():
            continue
        if schema is None:
            schema = _schema(_first(block), dataset)
        table = _parse(block, schema, dataset, row)
        yield table
        row += table.num_rows


def _schema(first: dict[str, Any], dataset: Dataset) -> pa.Schema:
    """Types to read: of a data set with columns its own, else those of timestamps and keys; the others as they come."""
    fitting.names(list(first), dataset)
    instants = {dataset.timestamp, dataset.created_at}
    known = {column.name: column.type for column in dataset.columns or ()}
    fields = []
    for name, value in first.items() if dataset.columns is None else [(name, None) for name in (*known, dataset.created_at)]:
        type = "text" if name in instants or known.get(name) == "timestamp" else known.get(name) or _type(name, value, dataset)
        fields.append((name, files.arrow_type(type)))
    return pa.schema(fields)


def _type(name: str, value: Any, dataset: Dataset) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int) and name in dataset.series_key:
        return "integer"
    if isinstance(value, int | float | None):
        return "number"
    raise errors.Invalid({name: "A row's values are numbers, text, true, false or null."})


def _parse(block: bytes, schema: pa.Schema, dataset: Dataset, row: int) -> pa.Table:
    options = pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    try:
        block.decode()
        found = pajson.read_json(
            pa.BufferReader(block), pajson.ReadOptions(use_threads=False, block_size=max(len(block) + 1, 1024)), options
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
        raise _diagnosed(block, schema, dataset, row) from None
    for name in schema.names:
        if pa.types.is_floating(found[name].type) and pc.any(pc.is_nan(found[name])).as_py():
            at = row + pc.index(pc.is_nan(found[name]), True).as_py()
            raise errors.Invalid({name: f"Row {at} holds NaN, which JSON does not know; write null."})
    return found


def _diagnosed(block: bytes, schema: pa.Schema, dataset: Dataset, row: int) -> errors.MlsysError:
    """What is wrong with a block that Arrow refused: looked for line by line, by Python."""
    for line in block.split(b"\n"):
        if not line.strip():
            continue
        try:
            found = json.loads(line.decode(), object_pairs_hook=lambda pairs: pairs)
        except (ValueError, RecursionError):
            return _malformed(f"Row {row} is not valid JSON in UTF-8")
        if not isinstance(found, list) or not all(isinstance(pair, tuple) for pair in found):
            return _malformed(f"Row {row} is no object")
        wrong = _wrong(found, schema, dataset, row)
        if wrong:
            return errors.Invalid(wrong, f"The rows do not fit the data set {dataset.name!r}.")
        row += 1
    return _malformed(f"The rows before row {row} hold a value that cannot be read")


def _wrong(pairs: list[tuple[str, Any]], schema: pa.Schema, dataset: Dataset, row: int) -> dict[str, str]:
    wrong = {}
    seen = set()
    for name, value in pairs:
        if name in seen:
            wrong[name] = f"Row {row} gives it twice."
        elif name not in schema.names:
            wrong[name] = f"Row {row}: the data set has no such column. Leave it out."
        elif value is not None and not _fits(value, schema.field(name).type):
            wrong[name] = f"Row {row}: {json.dumps(value, default=str)[:60]} is not {_wanted(name, schema, dataset)}."
        seen.add(name)
    return wrong


def _fits(value: Any, type: pa.DataType) -> bool:
    if isinstance(value, bool) or pa.types.is_boolean(type):
        return isinstance(value, bool) and bool(pa.types.is_boolean(type))
    if pa.types.is_string(type):
        return isinstance(value, str)
    if pa.types.is_integer(type):
        return isinstance(value, int) and -(2**63) <= value < 2**63
    return isinstance(value, int | float) and abs(value) < 1.8e308


def _wanted(name: str, schema: pa.Schema, dataset: Dataset) -> str:
    if name in (dataset.timestamp, dataset.created_at):
        return "a timestamp such as 2017-01-01T00:15:00Z"
    type = schema.field(name).type
    kinds = {pa.float64(): "number", pa.int64(): "integer", pa.string(): "text", pa.bool_(): "boolean"}
    return fitting.EXAMPLES[kinds[type]]


def _first(block: bytes) -> dict[str, Any]:
    line = next(line for line in block.split(b"\n") if line.strip())
    try:
        found = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise _malformed("Row 1 is not valid JSON in UTF-8") from None
    if not isinstance(found, dict):
        raise _malformed("Row 1 is no object")
    return found


def _refuse_long(held: bytes) -> None:
    if len(held) > LONGEST_ROW:
        raise errors.TooLarge(f"A row of more than {LONGEST_ROW:,} bytes; is a comma, quote or line break missing?")


def _malformed(what: str) -> errors.Malformed:
    return errors.Malformed(f"{what}; send rows as objects of columns.")
