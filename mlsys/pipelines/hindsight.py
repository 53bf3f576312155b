"""Why a window that is read as known at an instant is empty: whether its rows only became known later, and when."""

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from mlsys.clock import rfc3339
from mlsys.pipelines import reading, timestamps
from mlsys.pipelines.base import DataSource, Query
from mlsys.records import Layout, Window


def later(source: DataSource, layout: Layout, window: Window, known_at: datetime | None) -> str | None:
    """What to tell of rows of the window that were not known at ``known_at`` yet; None where there are none, or nothing was cut.

    Instants are those of the rows as they stand now: a data set answers with the newest of each timestamp.
    """
    if known_at is None or layout.created_at is None:
        return None
    query = Query(layout=layout, columns=(layout.timestamp, layout.created_at), window=window)
    rows = reading.cut(source.read(query), query)
    created = timestamps.in_utc(rows, layout.created_at, timezone=layout.timezone)[layout.created_at]
    created = created.filter(pc.greater(created, pa.scalar(known_at, timestamps.INSTANT)))
    if not len(created):
        return None
    span = pc.min_max(created).as_py()
    first, last = rfc3339(span["min"]), rfc3339(span["max"])
    when = f"at {first}" if first == last else f"between {first} and {last}"
    return (
        f"{len(created)} rows of it are there, but as they stand now they became known {when}, after {rfc3339(known_at)}: "
        "take a later time_travel_date, or, where they were known before, say so in their created_at (a data set takes it on append)"
    )
