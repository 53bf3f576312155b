"""One column at a time: to numbers, to keys, and the wording of what is wrong with one. Time is in timestamps.py."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mlsys import errors
from mlsys.pipelines import options

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
LONGEST = 60


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type may serve as a number: integers, floats, decimals, booleans."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(check(kind) for check in checks)


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dictionaries decoded, every kind of text as ``string``."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    return column


def number(column: pa.ChunkedArray, name: str, first_row: int | None = None) -> pa.ChunkedArray:
    """float64, null where there is no number (NaN included); raises WrongType for text that is no number, and for any other type."""
    column = plain(column)
    if pa.types.is_string(column.type):
        refuse_unless(pc.match_substring_regex(column, NUMBER), column, name, "a number", first_row)
    elif not (is_number(column.type) or pa.types.is_null(column.type)):
        raise errors.WrongType(f"The column '{name}' holds {column.type}, not numbers; store numbers, or name another column.")
    floats = column.cast(pa.float64(), safe=False)
    return pc.if_else(pc.is_nan(floats), pa.scalar(None, pa.float64()), floats)


def key(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """``string`` or ``int64`` without gaps; raises WrongType."""
    column = plain(column)
    if column.null_count:
        text = f"The series key '{name}' holds no value in {column.null_count} rows"
        raise errors.WrongType(f"{text}; give every row the name of its series.")
    if pa.types.is_string(column.type):
        return column
    if pa.types.is_integer(column.type) and column.type != pa.uint64():
        return column.cast(pa.int64())
    if pa.types.is_null(column.type):
        return column.cast(pa.string())
    raise errors.WrongType(f"The series key '{name}' holds {column.type}; store it as text or whole numbers.")


def require(present: Sequence[str], wanted: Iterable[str]) -> None:
    """Raise MissingColumn for the first wanted column that is not present, WrongType for one that is there twice."""
    for name in wanted:
        if name not in present:
            raise errors.MissingColumn(f"The data has no column '{name}'; {options.nearest(name, present)}.")
        if present.count(name) > 1:
            raise errors.WrongType(f"The column '{name}' appears {present.count(name)} times; give each column a name of its own.")


def refuse_unless(good: pa.ChunkedArray, column: pa.ChunkedArray, name: str, expected: str, first_row: int | None) -> None:
    """Raise WrongType for the first value whose flag is false; a missing value passes."""
    at = pc.index(good, False).as_py()
    if at >= 0:
        raise _wrong(column[at].as_py(), name, expected, None if first_row is None else first_row + at)


def convert(
    column: pa.ChunkedArray, to: pa.DataType, shown: pa.ChunkedArray, name: str, expected: str, first_row: int | None
) -> pa.ChunkedArray:
    """Text to ``to``, null where ``shown`` is. Raises WrongType showing the first value of ``shown`` that cannot be, found by halving."""
    column = pc.if_else(pc.is_valid(shown), column, pa.scalar(None, column.type))
    try:
        return column.cast(to)
    except pa.ArrowInvalid:
        at = _first_bad(column, to)
        raise _wrong(shown[at].as_py(), name, expected, None if first_row is None else first_row + at) from None


def _first_bad(column: pa.ChunkedArray, to: pa.DataType) -> int:
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _casts(column.slice(low, middle - low), to) else (low, middle)
    return low


def _casts(column: pa.ChunkedArray, to: pa.DataType) -> bool:
    try:
        column.cast(to)
    except pa.ArrowInvalid:
        return False
    return True


def _wrong(value: Any, name: str, expected: str, row: int | None) -> errors.WrongType:
    shown = repr(value if len(str(value)) <= LONGEST else f"{str(value)[:LONGEST]}...")
    where = "" if row is None else f", row {row}"
    return errors.WrongType(f"Column '{name}'{where}: {shown} is not {expected}; correct the value, or name another column.")
