"""Holds what a replay computed against what was stored: models as canonical bytes, predictions as rows. Reads and decides nothing else.

A verdict is plain data: ``{"verdict": "identical"}``, ``{"verdict": "equal_within", "max_difference", "column", "row"}``, or
``{"verdict": "different", "first_difference": {"column", "row", "recorded", "replayed"}}``. ``row`` counts from 0. Numbers count as equal
within TOLERANCE times the largest number of their column.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlsys import errors
from mlsys.clock import rfc3339
from mlsys.pipelines import fingerprint, names

TOLERANCE = 1e-6
VALUES = (names.PREDICTION, names.QUALITY)
SIZES = "tree_sizes"  # lengths of the text of LightGBM's trees: they differ with the digits of any number in it

Columns = Mapping[str, "np.ndarray[Any, Any]"]


def models(recorded: bytes, replayed: bytes) -> dict[str, Any]:
    """Of two artifacts. A column is a place in the model, a row a position there."""
    if recorded == replayed:
        return {"verdict": "identical"}
    found = compare(_parts(recorded), _parts(replayed))
    return found if found["verdict"] != "identical" else {"verdict": "equal_within", "max_difference": 0.0, "column": SIZES, "row": 0}


def rows(recorded: pa.Table, replayed: pa.Table, keys: Sequence[str]) -> dict[str, Any]:
    """Of two predictions, by ``keys`` (timestamp and series key), values, quantiles and quality; any order of rows."""
    wanted = [name for name in recorded.column_names if name in keys or name in VALUES or name.startswith(names.QUANTILE)]
    extra = [name for name in replayed.column_names if name.startswith(names.QUANTILE) and name not in wanted]
    if extra or not set(wanted) <= set(replayed.column_names):
        missing = [*(name for name in wanted if name not in replayed.column_names), *extra][0]
        return _different(missing, 0, missing in wanted, missing not in wanted)
    ordered = [*keys, *(name for name in wanted if name not in keys)]
    tables = [fingerprint.sort(table.select(ordered), tuple(keys)) for table in (recorded, replayed)]
    found = compare(*({name: _array(table[name]) for name in ordered} for table in tables), exact=keys)
    difference = found.get("first_difference", found)
    if "row" in difference:
        longest = max(tables, key=lambda table: table.num_rows)
        difference["key"] = {name: _plain(longest[name][difference["row"]].as_py()) for name in keys}
    return found


def read_rows(data: bytes) -> pa.Table:
    """A stored prediction. Raises DamagedArtifact."""
    try:
        return pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise errors.DamagedArtifact("The stored prediction cannot be read.") from error


def compare(recorded: Columns, replayed: Columns, *, exact: Sequence[str] = ()) -> dict[str, Any]:
    """Of two sets of named arrays, numbers or texts. Columns in ``exact`` are never equal within something."""
    absent = [name for name in recorded if name not in replayed] + [name for name in replayed if name not in recorded]
    if absent:
        return _different(absent[0], 0, absent[0] in recorded, absent[0] in replayed)
    wrong: list[tuple[int, int, str]] = []
    largest: tuple[float, str, int] = (0.0, "", 0)
    within = True
    for order, (name, mine) in enumerate(recorded.items()):
        theirs = replayed[name]
        places = _unequal(mine, theirs)
        if len(places):
            wrong.append((int(places[0]), order, name))
            gap = _gaps(mine, theirs, places) if name not in exact else None
            within = within and gap is not None
            if gap is not None and gap.max() > largest[0]:
                largest = (float(gap.max()), name, int(places[int(gap.argmax())]))
    if not wrong:
        return {"verdict": "identical"}
    if within:
        return {"verdict": "equal_within", "max_difference": largest[0], "column": largest[1], "row": largest[2]}
    row, _, name = min(wrong)
    return _different(name, row, *(array[row] if row < len(array) else None for array in (recorded[name], replayed[name])))


def _unequal(mine: "np.ndarray[Any, Any]", theirs: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Positions that differ; a position that only one of the two has differs."""
    both = min(len(mine), len(theirs))
    a, b = mine[:both], theirs[:both]
    same = a == b
    if a.dtype.kind == "f" and b.dtype.kind == "f":
        same = same | (np.isnan(a) & np.isnan(b))
    return np.concatenate([np.flatnonzero(~np.asarray(same, dtype=bool)), np.arange(both, max(len(mine), len(theirs)))])


def _gaps(mine: "np.ndarray[Any, Any]", theirs: "np.ndarray[Any, Any]", places: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any] | None":
    """How far apart numbers are at these places; None when they are no numbers or further apart than what counts as equal."""
    if len(mine) != len(theirs) or mine.dtype.kind != "f" or theirs.dtype.kind != "f":
        return None
    gap: np.ndarray[Any, Any] = np.abs(mine[places] - theirs[places])
    scale = float(np.nanmax(np.abs(mine))) if not np.isnan(mine).all() else 0.0
    return gap if np.isfinite(gap).all() and gap.max() <= TOLERANCE * scale else None


def _different(column: str, row: int, recorded: Any, replayed: Any) -> dict[str, Any]:
    told = {"column": column, "row": row, "recorded": _plain(recorded), "replayed": _plain(replayed)}
    return {"verdict": "different", "first_difference": told}


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, datetime):
        return rfc3339(value) if value.tzinfo else value.isoformat()
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _array(column: pa.ChunkedArray) -> "np.ndarray[Any, Any]":
    if pa.types.is_floating(column.type):
        return np.asarray(column.to_numpy(), dtype=np.float64)
    return np.asarray(column.cast(pa.string()).to_numpy(zero_copy_only=False), dtype=object)


def _parts(data: bytes) -> dict[str, "np.ndarray[Any, Any]"]:
    """A model's numbers and words, by the place they stand at."""
    found: dict[str, list[Any]] = {}
    for place, value in _leaves(json.loads(data), ""):
        found.setdefault(place, []).append(value)
    return {
        place: np.array(values, dtype=np.float64 if all(type(value) is float for value in values) else object)
        for place, values in found.items()
    }


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in sorted(value.items()):
            yield from _leaves(inner, f"{place}.{name}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, place)
    elif isinstance(value, str) and "\n" in value:
        yield from _lines(value, place)
    else:
        yield place, float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _lines(text: str, place: str) -> Iterator[tuple[str, Any]]:
    """LightGBM's text: lines ``name=number number ..``, tree by tree."""
    tree = ""
    for line in text.splitlines():
        name, equals, values = line.partition("=")
        if name == "Tree":
            tree = f" tree {values}"
        elif equals and name != SIZES:
            for word in values.split():
                yield f"{place}{tree} {name}", _number(word)
        elif not equals and line:
            yield f"{place}{tree}", line


def _number(word: str) -> Any:
    try:
        return float(word)
    except ValueError:
        return word
