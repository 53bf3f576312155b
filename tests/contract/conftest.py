"""Samples for the one contract suite: how to lay down given rows for each source, and how to read back what each destination wrote.

A component that is installed but has no sample here fails the suite. Sources and destinations are here; features, models and checks keep
theirs beside their own contract tests.
"""

import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import front
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from mlsys.pipelines import build
from mlsys.pipelines.base import BlobStore, DataSource, Destination, Ports, Reporter
from mlsys.pipelines.files import DataRoots
from mlsys.records import Output
from mlsys.timetravel import declaring
from mlsys.timetravel.reader import JobPort

Spec = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """``spec`` builds the component; ``lay`` puts rows where the source will find them; ``fetch`` reads back what an Output names."""

    spec: Spec
    ports: Ports
    lay: Callable[[pa.Table], None] = lambda table: None
    fetch: Callable[[Output], pa.Table] = lambda output: pa.table({})


def _ports(folder: Path, **connections: str) -> Ports:
    nothing: Any = None  # sources and destinations touch neither blobs nor reporter
    roots = DataRoots([folder / "data"])
    (folder / "data").mkdir(exist_ok=True)
    (folder / "outputs").mkdir(exist_ok=True)
    return Ports(
        blobs=cast(BlobStore, nothing), files=roots, outputs=folder / "outputs", reporter=cast(Reporter, nothing), connections=connections
    )


def _parquet_source(folder: Path) -> Sample:
    def lay(table: pa.Table) -> None:
        pq.write_table(table, folder / "data" / "rows.parquet", row_group_size=7)

    return Sample(spec={"type": "parquet", "path": "rows.parquet"}, ports=_ports(folder), lay=lay)


def _parquet_folder_source(folder: Path) -> Sample:
    def lay(table: pa.Table) -> None:
        (folder / "data" / "rows" / "deep").mkdir(parents=True, exist_ok=True)
        half = table.num_rows // 2
        pq.write_table(table.slice(half), folder / "data" / "rows" / "deep" / "a.pq")
        pq.write_table(table.slice(0, half), folder / "data" / "rows" / "b.parquet")

    return Sample(spec={"type": "parquet", "path": "rows"}, ports=_ports(folder), lay=lay)


def _csv_source(folder: Path) -> Sample:
    def lay(table: pa.Table) -> None:
        pacsv.write_csv(table, folder / "data" / "rows.csv")

    return Sample(spec={"type": "csv", "path": "rows.csv"}, ports=_ports(folder), lay=lay)


def _sql_source(folder: Path, url: str, table: str, *, as_query: bool) -> Sample:
    def lay(rows: pa.Table) -> None:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            frame = rows.to_pandas()
            frame.to_sql(table, connection, if_exists="replace", index=False)
        engine.dispose()

    what = {"query": f'SELECT * FROM "{table}" WHERE 1 = 1;'} if as_query else {"table": table}
    return Sample(spec={"type": "sql", "connection": "plant", **what}, ports=_ports(folder, plant=url), lay=lay)


def _parquet_destination(folder: Path) -> Sample:
    def fetch(output: Output) -> pa.Table:
        return pq.read_table(unquote(urlsplit(output.uri).path))

    return Sample(spec={"type": "parquet"}, ports=_ports(folder), fetch=fetch)


def _sql_destination(folder: Path, url: str, table: str) -> Sample:
    def fetch(output: Output) -> pa.Table:
        run_id = unquote(urlsplit(output.uri).query.removeprefix("run_id="))
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table(table):
                raise FileNotFoundError(table)
            kinds = {"timestamp": sa.DateTime(timezone=engine.dialect.name != "sqlite")}
            source = sa.table(table, *(sa.column(c["name"], kinds.get(c["name"])) for c in sa.inspect(connection).get_columns(table)))
            rows = [dict(row) for row in connection.execute(sa.select(source).where(source.c.run_id == run_id)).mappings()]
        engine.dispose()
        for row in rows:
            row["timestamp"] = row["timestamp"].replace(tzinfo=row["timestamp"].tzinfo or UTC)
        return pa.Table.from_pylist(rows)

    return Sample(
        spec={"type": "sql_table", "connection": "plant", "table": table},
        ports=_ports(folder, plant=url),
        fetch=fetch,
    )


def _sqlite(folder: Path) -> str:
    sqlite3.connect(folder / "plant.db").close()
    return f"sqlite:///{folder / 'plant.db'}"


def _dataset_source(folder: Path, server: Any) -> Iterator[Sample]:
    """In a system with a database of its own."""
    url = server.clone()
    with front.started(folder, url, {}) as world:
        data = world.system.data

        def lay(table: pa.Table) -> None:
            data.service.create(declaring.declare("rows", timestamp="when", series_key=["site"]))
            data.service.append_tables("rows", [table])

        ports = replace(_ports(folder), datasets=JobPort(reader=data.reader, units=world.system.services.units))
        yield Sample(spec={"type": "dataset", "name": "rows"}, ports=ports, lay=lay)
    server.drop(url)


Lay = Callable[[Path, str], Sample]
"""From a folder, and the URL of a PostgreSQL database."""

SOURCES: dict[str, list[Lay]] = {
    "parquet": [lambda folder, _: _parquet_source(folder), lambda folder, _: _parquet_folder_source(folder)],
    "csv": [lambda folder, _: _csv_source(folder)],
    "dataset": [lambda folder, postgres: Sample(spec={}, ports=_ports(folder))],  # made by _dataset_source: it needs a whole server
    "sql": [
        lambda folder, _: _sql_source(folder, _sqlite(folder), "rows", as_query=False),
        lambda folder, _: _sql_source(folder, _sqlite(folder), "rows", as_query=True),
        lambda folder, postgres: _sql_source(folder, postgres, _fresh(), as_query=False),
        lambda folder, postgres: _sql_source(folder, postgres, _fresh(), as_query=True),
    ],
}
DESTINATIONS: dict[str, list[Lay]] = {
    "parquet": [lambda folder, _: _parquet_destination(folder)],
    "sql_table": [
        lambda folder, _: _sql_destination(folder, _sqlite(folder), "forecasts"),
        lambda folder, postgres: _sql_destination(folder, postgres, _fresh()),
    ],
}


def _fresh() -> str:
    """The samples share one database."""
    return f"contract_{uuid.uuid4().hex[:8]}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every installed component by itself, once for each of its samples; one without a sample once, to fail."""
    for fixture, kind, samples in (("source_sample", DataSource, SOURCES), ("destination_sample", Destination, DESTINATIONS)):
        if fixture in metafunc.fixturenames:
            found = [(name, at) for name in build.available(kind) for at in range(max(1, len(samples.get(name, []))))]  # type: ignore[type-abstract]
            metafunc.parametrize(fixture, found, indirect=True, ids=[f"{name}-{at}" for name, at in found])


def _sample(samples: Mapping[str, list[Lay]], wanted: tuple[str, int], folder: Path, postgres: str) -> Sample:
    name, at = wanted
    if name not in samples:
        pytest.fail(f"The installed component '{name}' has no sample in tests/contract/conftest.py; add one.")
    return samples[name][at](folder, postgres)


@pytest.fixture(scope="session")
def postgres(embedded_server: Any) -> Iterator[str]:
    url = embedded_server.empty()
    yield url
    embedded_server.drop(url)


@pytest.fixture
def source_sample(request: pytest.FixtureRequest, tmp_path: Path, postgres: str) -> Iterator[Sample]:
    if request.param[0] == "dataset":
        yield from _dataset_source(tmp_path, request.getfixturevalue("embedded_server"))
    else:
        yield _sample(SOURCES, request.param, tmp_path, postgres)


@pytest.fixture
def destination_sample(request: pytest.FixtureRequest, tmp_path: Path, postgres: str) -> Sample:
    return _sample(DESTINATIONS, request.param, tmp_path, postgres)


@pytest.fixture
def rows() -> pa.Table:
    """Two series of 40 quarter-hours, keys that look like numbers, gaps in target and exogenous, a column without a role."""
    times = pd.date_range("2020-01-01", periods=40, freq="15min", tz="UTC").as_unit("us")
    numbers = pd.Series(range(40), dtype="float64")
    series = [
        pd.DataFrame({"when": times, "site": site, "power": numbers * step, "cloud": numbers / 40, "note": "calm, dry"})
        for site, step in (("007", 1), ("b", 2))
    ]
    frame = pd.concat(series, ignore_index=True)
    frame.loc[frame.index % 9 == 3, "power"] = None
    frame.loc[frame.index % 7 == 2, "cloud"] = None
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
