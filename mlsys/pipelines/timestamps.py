"""Columns of time to UTC instants (``timestamp[us, UTC]``), exactly or not at all: nothing is guessed, rounded or passed over."""

import zoneinfo
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mlsys import errors
from mlsys.pipelines import columns
from mlsys.records import Window

INSTANT = pa.timestamp("us", tz="UTC")
LOCAL = pa.timestamp("us")
EARLIEST, LATEST = (pa.scalar(datetime(year, 1, 1, tzinfo=UTC), INSTANT).value for year in (2, 9999))
ISO = r"^(?P<local>\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)?)(?P<offset>Z|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?$"


def in_utc(table: pa.Table, name: str, *, timezone: str, window: Window | None = None, first_row: int | None = None) -> pa.Table:
    """The table with column ``name`` as instants and, if a window is given, only its rows (a row without a timestamp is in no window).

    Naive values are local times of ``timezone``. Raises WrongType for a value in the window that is no instant, that the clock change makes
    ambiguous or skips, or that is finer than a microsecond. ``first_row``: number of the first row, where messages should name the row.
    """
    early, late = _bounds(columns.plain(table[name]), name, timezone, first_row)
    _refuse_beyond_calendar(early, name)
    table = table.set_column(table.column_names.index(name), name, early)
    if window is not None:
        keep = pc.and_(pc.greater_equal(late, pa.scalar(window.start, INSTANT)), pc.less(early, pa.scalar(window.end, INSTANT)))
        table, early, late = table.filter(keep), early.filter(keep), late.filter(keep)
    unclear = pc.index(pc.not_equal(early, late), True).as_py()
    if unclear >= 0:
        at = early[unclear].as_py().astimezone(zoneinfo.ZoneInfo(timezone))
        text = f"The column '{name}' holds a local time near {at:%Y-%m-%d %H:%M} that the clock change in {timezone}"
        raise errors.WrongType(f"{text} makes ambiguous or skips; store UTC, or local times with their offset.")
    return table


def iso(column: pa.ChunkedArray, name: str, first_row: int | None = None) -> pa.ChunkedArray:
    """Text in ISO 8601: instants if every value has an offset, naive local times if none has; WrongType for the first other value."""
    expected = "an ISO 8601 timestamp such as 2017-01-01T00:15:00Z"
    columns.refuse_unless(pc.match_substring_regex(column, ISO), column, name, expected, first_row)
    parts = pc.extract_regex(column, ISO)
    local = columns.convert(pc.struct_field(parts, "local"), LOCAL, column, name, expected, first_row)
    offset = pc.if_else(pc.is_valid(column), pc.struct_field(parts, "offset"), pa.scalar(None, pa.string()))
    naive = pc.equal(offset, "")
    if pc.all(naive).as_py() is not False:
        return local
    columns.refuse_unless(pc.invert(naive), column, name, "a timestamp with an offset, as others in the column", first_row)
    return pc.subtract(local, _durations(offset)).cast(INSTANT)


def _durations(offset: pa.ChunkedArray) -> pa.ChunkedArray:
    coded = pc.dictionary_encode(offset).combine_chunks()
    coded = pa.concat_arrays(coded.chunks) if isinstance(coded, pa.ChunkedArray) else coded
    spans = pa.array([_duration(text.as_py()) for text in coded.dictionary], pa.duration("us"))
    return pa.chunked_array([spans.take(coded.indices)])


def _duration(offset: str) -> timedelta:
    if offset == "Z":
        return timedelta(0)
    digits = offset[1:].replace(":", "").ljust(4, "0")
    span = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -span if offset[0] == "-" else span


def _bounds(column: pa.ChunkedArray, name: str, timezone: str, first_row: int | None) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Earliest and latest instant each value can mean; they differ only where the clocks change."""
    if pa.types.is_string(column.type):
        column = iso(column, name, first_row)
    try:
        if pa.types.is_timestamp(column.type) and column.type.tz is not None:
            column = column.cast(INSTANT)
        elif pa.types.is_timestamp(column.type) or pa.types.is_date(column.type) or pa.types.is_null(column.type):
            column = column.cast(LOCAL)
            return _localised(column, timezone) if timezone != "UTC" else (column.cast(INSTANT),) * 2
        else:
            raise errors.WrongType(f"The column '{name}' holds {column.type}, not timestamps; store timestamps, or text in ISO 8601.")
    except pa.ArrowInvalid:
        text = f"The column '{name}' holds timestamps finer than a microsecond or out of range; round them to microseconds."
        raise errors.WrongType(text) from None
    return column, column


def _refuse_beyond_calendar(column: pa.ChunkedArray, name: str) -> None:
    """Years that Python's datetime cannot express: such values are faults of what wrote them."""
    span = pc.min_max(column.cast(pa.int64())).as_py()
    if span["min"] is not None and (span["min"] < EARLIEST or span["max"] > LATEST):
        raise errors.WrongType(f"The column '{name}' holds timestamps outside of the years 2 to 9998; correct them.")


def _localised(column: pa.ChunkedArray, timezone: str) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    zone = _zone(timezone)
    local = pd.DatetimeIndex(column.to_numpy())
    summer = np.ones(len(local), dtype=bool)
    early = local.tz_localize(zone, ambiguous=summer, nonexistent="shift_backward")
    late = local.tz_localize(zone, ambiguous=~summer, nonexistent="shift_forward")
    return _instants(early), _instants(late)


def _instants(index: pd.DatetimeIndex) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(index.tz_convert("UTC"), type=INSTANT, from_pandas=True)])


def _zone(name: str) -> Any:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise errors.Invalid({"timezone": f"There is no time zone '{name}'; give a name such as UTC or Europe/Amsterdam."}) from None
