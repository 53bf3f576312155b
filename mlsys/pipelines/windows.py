"""Reads a window with what features need around it, as cleaned series. Shared by training and prediction; judges nothing."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mlsys.pipelines import base, calendar, frames, reading
from mlsys.records import DataUsed, Layout, Window


@dataclass(frozen=True, kw_only=True)
class Rows:
    """``whole``: all rows read, which ``read`` describes; ``inside``: those of the window, which ``used`` describes.

    ``layout`` names its exogenous columns.
    """

    layout: Layout
    whole: pd.DataFrame
    inside: pd.DataFrame
    used: DataUsed
    read: DataUsed


def read(
    source: base.DataSource,
    layout: Layout,
    window: Window,
    *,
    known_at: datetime | None,
    before: timedelta,
    after: timedelta,
    target: bool = True,
) -> Rows:
    """The window and ``before`` and ``after`` around it. ``target`` False: a source that holds only what is known in advance will do."""
    layout = _named(source, layout)
    names = [layout.target, *(layout.exogenous or ())]
    absent = not target and layout.target not in source.schema().names
    query = base.Query(
        layout=layout,
        columns=tuple(names[1:] if absent else names),
        window=Window(start=window.start - before, end=window.end + after),
        known_at=known_at,
    )
    table, everything = reading.read(source, query)
    inside = _inside(table, layout, window)
    whole = frames.to_pandas(table)
    if absent:
        whole[layout.target] = np.nan
    mask = calendar.inside(pd.DatetimeIndex(whole[layout.timestamp]), window)
    rows = whole if mask.all() else whole[mask]
    return Rows(layout=layout, whole=whole, inside=rows, used=reading.used(inside, layout), read=everything)


def _named(source: base.DataSource, layout: Layout) -> Layout:
    return replace(layout, exogenous=reading.exogenous(source, layout))


def _inside(table: pa.Table, layout: Layout, window: Window) -> pa.Table:
    times = table[layout.timestamp]
    unit = pa.timestamp("us", "UTC")
    return table.filter(pc.and_(pc.greater_equal(times, pa.scalar(window.start, unit)), pc.less(times, pa.scalar(window.end, unit))))
