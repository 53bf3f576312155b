"""The cut per row: of every row the values that were known at its own issue time, and when that was. The global cut is in reading.py."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mlsys.pipelines import calendar, frames, issue
from mlsys.pipelines.issue import Issue
from mlsys.records import Layout, Window


def columns(layout: Layout, wanted: Sequence[str]) -> list[str]:
    """Which of the wanted columns are cut at the issue time: the exogenous ones. The target is a measurement, cut for all rows alike."""
    if layout.issue is None:
        return []
    return [name for name in wanted if name not in (layout.timestamp, layout.target, *layout.series_key)]


def rows(table: pa.Table, layout: Layout, known_at: datetime | None) -> pa.Table:
    """One row per series key and timestamp: the newest with created_at up to its issue time (and ``known_at``); of equal ones the last."""
    if layout.issue is None or layout.created_at is None:
        raise ValueError("the cut per row needs layout.issue and layout.created_at")
    stamps = pd.DatetimeIndex(frames.to_pandas(table.select([layout.timestamp]))[layout.timestamp])
    until = calendar.instants(times(stamps, issue.parse(layout.issue), timezone=layout.timezone))
    until = until if known_at is None else np.minimum(until, calendar.instant(known_at))
    created = pc.fill_null(table[layout.created_at].cast(pa.int64()), 2**63 - 1).to_numpy()
    table = table.filter(pa.array(created <= until))
    order = pa.array(np.argsort(table[layout.created_at].cast(pa.int64()).to_numpy(), kind="stable"))
    table = table.take(order)
    keys = frames.to_pandas(table.select([*layout.series_key, layout.timestamp]))
    return table.filter(pa.array(~keys.duplicated(keep="last").to_numpy()))


def fill(newest: pa.Table, then: pa.Table, layout: Layout, names: Sequence[str]) -> pa.Table:
    """``newest`` with the columns ``names`` taken from the rows of ``then`` (one per key), null where it has none."""
    keys = [*layout.series_key, layout.timestamp]
    wanted, found = (pd.MultiIndex.from_frame(frames.to_pandas(table.select(keys))) for table in (newest, then))
    at = found.get_indexer(wanted)
    places = pa.array(at, mask=at < 0)
    for name in names:
        column = then[name].take(places)
        present = newest.schema.get_field_index(name)
        newest = newest.append_column(name, column) if present < 0 else newest.set_column(present, name, column)
    return newest


def times(rows: pd.DatetimeIndex, at: Issue, *, timezone: str) -> pd.DatetimeIndex:
    """The issue time of each row (UTC)."""
    if at.lead is not None:
        return calendar.utc(calendar.instants(rows) - calendar.microseconds(at.lead))
    zone = at.zone or timezone
    return calendar.utc(_of_days(calendar.days(rows, zone), at, zone))


def steps(window: Window, at: Issue, *, timezone: str) -> tuple[calendar.Ints, calendar.Ints]:
    """The local days that a window touches: their first instants and their rows' issue time, microseconds. Not for lead times."""
    zone = at.zone or timezone
    ends = calendar.utc(np.array([calendar.instant(window.start), calendar.instant(window.end)], dtype=np.int64))
    first, last = calendar.days(ends, zone)
    numbers = np.arange(first - 1, last + 2, dtype=np.int64)
    return calendar.instants(calendar.midnights(numbers, zone)), _of_days(numbers, at, zone)


def _of_days(numbers: calendar.Ints, at: Issue, zone: str) -> calendar.Ints:
    unique, inverse = np.unique(numbers, return_inverse=True)
    walls = (unique - at.days) * calendar.DAY_US + calendar.microseconds(at.clock)
    return calendar.instants(calendar.from_wall(walls, zone))[inverse]
