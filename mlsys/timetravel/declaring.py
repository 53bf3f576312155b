"""What may be declared as a data set: names, columns and types, checked; every fault is told at once, by field."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlsys import errors
from mlsys.pipelines import fields, options
from mlsys.records import DataColumn, Dataset
from mlsys.timetravel import files

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
KINDS = {
    "timestamp": ("timestamp", "instant", "datetime"),
    "number": ("number", "float", "double", "float64"),
    "integer": ("integer", "int", "int64"),
    "text": ("text", "string", "str"),
    "boolean": ("boolean", "bool"),
}
_KIND = {word: kind for kind, words in KINDS.items() for word in words}


def declare(
    name: str,
    *,
    timestamp: str,
    series_key: Sequence[str] = (),
    created_at: str = "created_at",
    timezone: str = "UTC",
    columns: Mapping[str, str] | Sequence[Mapping[str, str]] | None = None,
) -> Dataset:
    """``columns``: {name: type}, or [{name, type}]; timestamp and keys may be left out. None: the first append decides. Raises Invalid."""
    wrong: dict[str, Any] = {}
    if not NAME.fullmatch(name):
        wrong["name"] = "1 to 100 letters, digits, '.', '_' or '-', the first a letter or digit."
    read: dict[str, Any] = {}
    given = (("timestamp", fields.column, timestamp), ("series_key", fields.columns, series_key))
    for field, reader, value in (*given, ("created_at", fields.column, created_at), ("timezone", fields.timezone, timezone)):
        try:
            read[field] = reader(value, field)
        except errors.Invalid as error:
            wrong |= error.fields
    if wrong:
        raise errors.Invalid(wrong, "The data set's declaration is not valid.")
    found = None if columns is None else _columns(columns, [timestamp, *series_key], wrong)
    dataset = Dataset(name=name, **read | {"series_key": tuple(read["series_key"])}, columns=found)
    wrong |= faults(dataset)
    if wrong:
        raise errors.Invalid(wrong, "The data set's declaration is not valid.")
    return dataset


def faults(dataset: Dataset) -> dict[str, str]:
    """What columns contradict each other, by field."""
    names = [column.name for column in files.columns_of(dataset)]
    wrong = {}
    for at, name in enumerate(names):
        if name.lower().startswith(files.RESERVED):
            wrong[f"columns.{name}"] = f"Names that begin with {files.RESERVED} are taken."
        if name.lower() in [other.lower() for other in names[:at]]:
            wrong[f"columns.{name}"] = "Another column has this name, or one that differs in upper and lower case alone."
    if dataset.created_at.lower() in [name.lower() for name in names] or dataset.created_at.lower().startswith(files.RESERVED):
        wrong["created_at"] = "This is the name of a column of the rows; choose another for when a row became known."
    for column in files.columns_of(dataset):
        if column.name == dataset.timestamp and column.type != "timestamp":
            wrong[f"columns.{column.name}"] = "The timestamp column must be of type timestamp."
        if column.name in dataset.series_key and column.type not in ("text", "integer"):
            wrong[f"columns.{column.name}"] = "A series key must be of type text or integer."
    return wrong


def _columns(given: Mapping[str, str] | Sequence[Mapping[str, str]], keys: Sequence[str], wrong: dict[str, Any]) -> tuple[DataColumn, ...]:
    pairs = list(given.items()) if isinstance(given, Mapping) else [(each.get("name", ""), each.get("type", "number")) for each in given]
    found = {key: "timestamp" if at == 0 else "text" for at, key in enumerate(keys)}
    for at, (name, word) in enumerate(pairs):
        if not isinstance(name, str) or not name.strip() or len(name) > fields.LONGEST_NAME:
            wrong[f"columns.{at}"] = "A column needs a name of at most 200 characters."
        elif str(word).lower() not in _KIND:
            wrong[f"columns.{name}"] = f"There is no type {str(word)[:60]!r}; {options.nearest(str(word), list(KINDS))}."
        elif name in [other for other, _ in pairs[:at]]:
            wrong[f"columns.{name}"] = "Named twice; keep it once."
        else:
            found[name] = _KIND[str(word).lower()]
    return tuple(DataColumn(name=name, type=type) for name, type in found.items())
