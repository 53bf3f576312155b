"""How every job reads: columns and window, one set of types, the known_at cut, one order, and the sha256 of what was read.

Must not hold: anything about one kind of source; any judgement of the data (duplicates, gaps, an empty window: that is for checks).
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mlsys import errors
from mlsys.pipelines import columns, fingerprint, frames, issued, timestamps
from mlsys.pipelines.base import DataSource, Query
from mlsys.pipelines.names import INDEX
from mlsys.records import DataUsed, Layout


def read(source: DataSource, query: Query) -> tuple[pa.Table, DataUsed]:
    """Rows of the query, sorted by series key and timestamp: timestamp[us, UTC], key columns, then float64 target and exogenous columns.

    ``query.columns`` names the target and exogenous columns wanted; None: all the layout has (exogenous None: the source's other numeric
    columns, by name). Rows that share key and timestamp after the cut stay. Raises BadData's kin, and Invalid when known_at cannot be met.
    With ``layout.issue`` all columns but the target hold what was known at each row's own issue time: null where that was nothing.
    """
    layout = query.layout
    if (query.known_at is not None or layout.issue is not None) and layout.created_at is None and not source.cuts:
        raise errors.Invalid({"created_at": "The data does not say when a row became known; name that column as the model's `created_at`."})
    wanted = _wanted(source, query)
    roles = {layout.timestamp, *layout.series_key}
    layout = replace(layout, exogenous=tuple(name for name in wanted if name not in roles))  # all the others are to be numbers
    table = (_cut_by_source if source.cuts else _cut_here)(source, query, layout, wanted).select(wanted)
    table = fingerprint.sort(table, (*layout.series_key, layout.timestamp))
    return table, used(table, layout)


def _cut_here(source: DataSource, query: Query, layout: Layout, wanted: list[str]) -> pa.Table:
    extra = (layout.created_at,) if layout.created_at else ()
    query = replace(query, columns=tuple(dict.fromkeys([*wanted, *extra])))
    table = normalise(cut(source.read(query), query), layout)
    newest = known(table, layout, query.known_at)
    names = issued.columns(layout, wanted)
    return issued.fill(newest, issued.rows(table, layout, query.known_at), layout, names) if names else newest


def _cut_by_source(source: DataSource, query: Query, layout: Layout, wanted: list[str]) -> pa.Table:
    names = issued.columns(layout, wanted)
    plain = replace(layout, created_at=None)
    query = replace(query, columns=tuple(name for name in wanted if name not in names))
    newest = normalise(cut(source.read(query), query), plain)
    if not names:
        return newest
    query = replace(query, columns=(layout.timestamp, *layout.series_key, *names), issued=True)
    return issued.fill(newest, normalise(cut(source.read(query), query), plain), layout, names)


def exogenous(source: DataSource, layout: Layout) -> tuple[str, ...]:
    """The layout's exogenous columns; where it names none, every numeric column of the source without another role, sorted by name."""
    if layout.exogenous is not None:
        return layout.exogenous
    roles = {layout.timestamp, layout.target, layout.created_at, *layout.series_key}
    others = (field for field in source.schema() if field.name not in roles and not field.name.startswith(INDEX))
    return tuple(sorted(field.name for field in others if columns.is_number(field.type)))


def select(df: pd.DataFrame, query: Query) -> pa.Table:
    """Columns and window of a frame."""
    df = frames.flat(df)
    timed = [query.layout.timestamp] if query.window else []
    needed = dict.fromkeys(df.columns if query.columns is None else [*query.columns, *timed])
    columns.require([str(name) for name in df.columns], needed)
    return cut(frames.to_arrow(df, needed), query)


def cut(table: pa.Table, query: Query, *, first_row: int | None = None) -> pa.Table:
    """The query's columns, in its order, and the rows of its window; the timestamp becomes timestamp[us, UTC] on the way."""
    layout = query.layout
    names = list(dict.fromkeys(table.column_names if query.columns is None else query.columns))
    timed = query.window is not None or layout.timestamp in names
    needed = [*names, layout.timestamp] if timed and layout.timestamp not in names else names
    columns.require(table.column_names, needed)
    table = table.select(needed)
    if timed:
        table = timestamps.in_utc(table, layout.timestamp, timezone=layout.timezone, window=query.window, first_row=first_row)
    return table.select(names)


def normalise(table: pa.Table, layout: Layout) -> pa.Table:
    """One set of types: instants timestamp[us, UTC], keys string or int64, target and exogenous float64.

    Raises MissingColumn where timestamp, key or created_at is not there, WrongType where a value cannot be what it must.
    """
    needed = [layout.timestamp, *layout.series_key, *([layout.created_at] if layout.created_at else [])]
    columns.require(table.column_names, dict.fromkeys(needed))
    empty = table[layout.timestamp].null_count
    if empty:
        text = f"The column '{layout.timestamp}' holds no timestamp in {empty} rows"
        raise errors.WrongType(f"{text}; remove those rows or ask for a window.")
    return typed(table, layout)


def typed(table: pa.Table, layout: Layout) -> pa.Table:
    """Like normalise(), for those columns that are there. Of columns without a role, numbers become float64, text string."""
    for at, name in enumerate(table.column_names):
        if name in (layout.timestamp, layout.created_at):
            table = timestamps.in_utc(table, name, timezone=layout.timezone)
        elif name in layout.series_key:
            table = table.set_column(at, name, columns.key(table[name], name))
        elif name == layout.target or name in (layout.exogenous or ()) or columns.is_number(table.schema.field(at).type):
            table = table.set_column(at, name, columns.number(table[name], name))
        else:
            table = table.set_column(at, name, columns.plain(table[name]))
    return table.replace_schema_metadata(None)


def together(pieces: Iterable[pa.Table]) -> pa.Table:
    """Tables of one source, one under the other; raises WrongType where a column's types cannot be reconciled."""
    try:
        return pa.concat_tables(list(pieces), promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        text = "A column has different types in different parts of the data; store it as one type in all of them."
        raise errors.WrongType(text) from error


def known(table: pa.Table, layout: Layout, known_at: datetime | None) -> pa.Table:
    """Rows with created_at <= known_at (None: all), and of those the newest created_at per series key and timestamp.

    A row that does not say when it became known counts as known before all others, and not at all when ``known_at`` is asked for.
    """
    if layout.created_at is None:
        return table
    if known_at is not None:
        table = table.filter(pc.less_equal(table[layout.created_at], pa.scalar(known_at, timestamps.INSTANT)))
    keys = [*layout.series_key, layout.timestamp]
    rows = frames.to_pandas(table.select(keys))
    created = pd.Series(pc.fill_null(table[layout.created_at].cast(pa.int64()), -(2**63)).to_numpy())
    newest = created.groupby([rows[key] for key in keys], sort=False, dropna=False).transform("max")
    return table.filter(pa.array((created == newest).to_numpy()))


def used(table: pa.Table, layout: Layout) -> DataUsed:
    """Count, first and last instant, and sha256 of sorted rows (see fingerprint.py for what exactly is hashed)."""
    span = pc.min_max(table[layout.timestamp]).as_py()
    start, end = (span[side].astimezone(UTC) if span[side] else None for side in ("min", "max"))
    return DataUsed(rows=table.num_rows, start=start, end=end, sha256=fingerprint.sha256(table))


def _wanted(source: DataSource, query: Query) -> list[str]:
    layout = query.layout
    asked = (layout.target, *exogenous(source, layout)) if query.columns is None else query.columns
    return [name for name in dict.fromkeys([layout.timestamp, *layout.series_key, *asked]) if name != layout.created_at]
