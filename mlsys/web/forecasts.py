"""Reads back the last forecast of a model, as its predict run wrote it: as many rows as a chart can show. Draws nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mlsys import errors
from mlsys.pipelines import definition, names
from mlsys.records import Layout, Run

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = 672  # a week of quarter-hours
ABSURD = 1e100  # from here on arithmetic of a chart overflows; NaN and infinity are not below it either


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The last SHOWN rows of one series, oldest first. ``series`` names it where there are several; ``rows``: of the whole output."""

    times: Sequence[datetime]
    values: Sequence[float]
    series: str
    rows: int


def read(run: Run) -> Forecast:
    """The output of a succeeded predict run. Raises NotFound when it is not, or no longer, a readable parquet file here."""
    output = (run.result or {})["output"]
    layout = definition.layout(run.spec["definition"])
    table, series = _one_series(_table(_path(output["uri"]), layout), layout)
    times, values = table[layout.timestamp].to_pylist(), table[names.PREDICTION].to_pylist()
    known = [(t.replace(tzinfo=t.tzinfo or UTC), v) for t, v in zip(times, values, strict=True) if v is not None and abs(v) < ABSURD]
    if not known:
        raise errors.NotFound("The file of this forecast holds no number to show.")
    return Forecast(times=[t for t, _ in known], values=[v for _, v in known], series=series, rows=output["rows"])


def _path(uri: str) -> Path:
    parts = urlsplit(uri)
    path = Path(unquote(parts.path))
    if parts.scheme != "file" or path.suffix != ".parquet":
        raise errors.NotFound("This forecast was not written to a parquet file, so no chart is shown.")
    if not path.is_file():
        raise errors.NotFound("The file of this forecast is gone.")
    return path


def _table(path: Path, layout: Layout) -> "pa.Table":
    """The last row group's columns that matter: a file may be much larger than a page should read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = [layout.timestamp, names.PREDICTION, *layout.series_key]
    try:
        with pq.ParquetFile(path) as file:
            table = file.read_row_group(file.num_row_groups - 1, columns=wanted) if file.num_row_groups else None
    except (OSError, pa.ArrowException):
        raise errors.NotFound("The file of this forecast cannot be read as parquet.") from None
    if table is None or not table.num_rows or set(wanted) - set(table.column_names):
        raise errors.NotFound("The file of this forecast does not hold what was written to it.")
    return table


def _one_series(table: "pa.Table", layout: Layout) -> tuple["pa.Table", str]:
    import pyarrow.compute as pc

    told = []
    for name in layout.series_key:
        first = table[name][0]
        table = table.filter(pc.equal(table[name], first) if first.is_valid else pc.is_null(table[name]))
        told.append(f"{name} {first.as_py()}")
    table = table.sort_by(layout.timestamp)
    return table.slice(max(0, table.num_rows - SHOWN)), ", ".join(told)
