"""Arriving rows to a data set's own columns and types, or a refusal that names column and remedy. Where they come from is not known."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc

from mlsys import errors
from mlsys.pipelines import columns as reading
from mlsys.pipelines import options, timestamps
from mlsys.records import DataColumn, Dataset
from mlsys.timetravel import files

LONGEST = 4096
MOST_COLUMNS = 2000
EXAMPLES = {"number": "a number", "integer": "a whole number", "text": "text", "boolean": "true or false"}


def names(present: Sequence[str], dataset: Dataset) -> bool:
    """Holds column names against the data set's; whether created_at is among them. Raises Invalid naming each column at fault, TooLarge."""
    if len(present) > MOST_COLUMNS:
        raise errors.TooLarge(f"A data set takes {MOST_COLUMNS:,} columns at most.")
    known = [column.name for column in files.columns_of(dataset)]
    wrong = {
        name: "This column appears more than once; give each a name of its own." for name, count in Counter(present).items() if count > 1
    }
    wrong |= {
        name: f"This column is missing; add it, and leave unknown values {_empty(name, dataset)}." for name in known if name not in present
    }
    if dataset.columns is not None:
        extra = [name for name in present if name not in known and name != dataset.created_at]
        wrong |= {name: f"The data set has no such column; {options.nearest(name, known)}. Leave it out." for name in extra}
    if wrong:
        raise errors.Invalid(wrong, f"The rows do not fit the data set {dataset.name!r}.")
    return dataset.created_at in present


def fit(table: pa.Table, dataset: Dataset, *, given: bool, first_row: int) -> pa.Table:
    """The table with the data set's columns in its order and types, and created_at as CREATED when ``given``. Raises Invalid."""
    arrays = {}
    for column in files.columns_of(dataset):
        found = _fit(table, column, dataset, first_row)
        if column.name in dataset.keys:
            _refuse_empty(found, column.name, first_row, "every row needs one")
        arrays[column.name] = found
    if given:
        with _told(dataset.created_at):
            created = timestamps.in_utc(table, dataset.created_at, timezone=dataset.timezone, first_row=first_row)[dataset.created_at]
        _refuse_empty(created, dataset.created_at, first_row, "give it for every row or for none")
        arrays[files.CREATED] = created
    return pa.table(arrays)


def infer(table: pa.Table, dataset: Dataset) -> tuple[DataColumn, ...]:
    """The columns of a data set that has none yet, from its first rows: timestamp, keys, then the others as they come."""
    wrong = {name: _REFUSED for name in table.column_names if name.lower().startswith(files.RESERVED) or not name.strip()}
    if wrong:
        raise errors.Invalid(wrong)
    values = [name for name in table.column_names if name not in (*dataset.keys, dataset.created_at)]
    found = {name: _type(table[name], name) for name in (*dataset.series_key, *values)}
    found |= {name: "text" if found[name] == "number" and _empty_column(table[name]) else found[name] for name in dataset.series_key}
    found |= {name: "integer" for name in dataset.series_key if pa.types.is_integer(table[name].type)}
    return (DataColumn(name=dataset.timestamp, type="timestamp"), *(DataColumn(name=name, type=type) for name, type in found.items()))


def _fit(table: pa.Table, column: DataColumn, dataset: Dataset, first_row: int) -> pa.ChunkedArray:
    name, found = column.name, reading.plain(table[column.name])
    with _told(name):
        if column.type == "timestamp":
            return timestamps.in_utc(table, name, timezone=dataset.timezone, first_row=first_row)[name]
        if column.type == "number":
            return _finite(found if found.type == pa.float64() else reading.number(found, name, first_row), name, first_row)
        if column.type == "text":
            return _short(found, name, first_row)
        if pa.types.is_null(found.type) or found.type == files.arrow_type(column.type):
            return found.cast(files.arrow_type(column.type))
        if column.type == "integer" and reading.is_number(found.type) and not pa.types.is_boolean(found.type):
            return found.cast(pa.int64())
    raise errors.Invalid({name: f"This column holds {found.type}; the data set wants {EXAMPLES[column.type]} in it."})


def _finite(column: pa.ChunkedArray, name: str, first_row: int) -> pa.ChunkedArray:
    """NaN becomes missing; infinity is refused."""
    infinite = pc.index(pc.is_inf(column), True).as_py()
    if infinite >= 0:
        raise errors.Invalid({name: f"Row {first_row + infinite} holds infinity; store a number, or nothing where none is known."})
    if pc.any(pc.is_nan(column)).as_py():
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    return column


def _short(column: pa.ChunkedArray, name: str, first_row: int) -> pa.ChunkedArray:
    if not (pa.types.is_string(column.type) or pa.types.is_null(column.type)):
        raise errors.Invalid({name: f"This column holds {column.type}; the data set wants text in it."})
    column = column.cast(pa.string())
    longest = pc.max(pc.binary_length(column)).as_py() or 0
    if longest > LONGEST:
        raise errors.Invalid({name: f"A text of {longest} bytes, from row {first_row} on; {LONGEST} are the most."})
    return column


def _refuse_empty(column: pa.ChunkedArray, name: str, first_row: int, why: str) -> None:
    if column.null_count:
        at = pc.index(pc.is_null(column), True).as_py()
        raise errors.Invalid({name: f"Row {first_row + at} holds none; {why}."})


@contextmanager
def _told(name: str) -> Iterator[None]:
    """The refusals of the readers of single columns, as faults of that column."""
    try:
        yield
    except (errors.WrongType, errors.MissingColumn) as error:
        raise errors.Invalid({name: error.message}, "The rows do not fit the data set.") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise errors.Invalid({name: "This column holds values that its type cannot; correct them."}) from None


def _type(column: pa.ChunkedArray, name: str) -> str:
    kind = reading.plain(column).type
    if pa.types.is_boolean(kind):
        return "boolean"
    if reading.is_number(kind) or pa.types.is_null(kind):
        return "number"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "timestamp"
    if pa.types.is_string(kind):
        return "text"
    raise errors.Invalid({name: f"A data set cannot hold {kind}; store numbers, text, true and false, or timestamps."})


def _empty_column(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_null(column.type))


def _empty(name: str, dataset: Dataset) -> str:
    return "out of the data" if name in dataset.keys else "empty"


_REFUSED = f"A column's name may not be empty or begin with {files.RESERVED}."
