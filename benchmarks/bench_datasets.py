"""Data sets: reads as known at an instant beside plain DuckDB, appends of 1,000 rows, and one of millions beside pyarrow's own writer.

    python benchmarks/bench_datasets.py [--rows 20000000] [--append 5000000] [--quick]

The reads and appends run in a process of their own on an embedded database; the peer reads the same rows from plain parquet files.
"""

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlsys import bootstrap, config
from mlsys.system import System
from mlsys.timetravel import declaring
from mlsys.timetravel.asof import Ask

START = datetime(2016, 1, 1, tzinfo=UTC)
PER_SITE = 200_000  # five years and eight months
QUARTER = timedelta(minutes=15)
VALUES = ("power", "wind", "clouds", "temperature")
CHUNK = 1_000_000
REPEATS = 5
KEYS = ("time", "site")


def rows(count: int, *, first: int = 0, seed: int = 0) -> Iterator[pa.Table]:
    """Quarter-hours of some sites, ordered by time, in tables of CHUNK rows."""
    chance = np.random.default_rng(seed)
    many = max(1, count // PER_SITE)
    sites = pa.array([f"site-{n:03}" for n in range(many)])
    for start in range(first, first + count, CHUNK):
        place = np.arange(start, min(start + CHUNK, first + count))
        times = (np.datetime64(START.replace(tzinfo=None), "us") + place // many * np.timedelta64(QUARTER)).astype("datetime64[us]")
        columns: dict[str, Any] = {"time": pa.array(times).cast(pa.timestamp("us", "UTC")), "site": sites.take(pa.array(place % many))}
        yield pa.table(columns | {name: chance.normal(0, 1, len(place)) for name in VALUES})


def corrections(count: int) -> Iterator[pa.Table]:
    """One row in ten, with other values."""
    for table in rows(count, seed=1):
        yield table.take(pa.array(np.arange(3, table.num_rows, 10)))


def system(home: Path) -> System:
    found = bootstrap.build(config.load(None, environ={}, overrides={"home": str(home), "logging.level": "warning"}))
    found.start()
    return found


def prepare(home: Path, plain: Path, count: int) -> None:
    """The rows as a data set, and as plain parquet with created_at as a column."""
    made = system(home)
    service = made.data.service
    service.create(declaring.declare("big", timestamp="time", series_key=["site"]))
    plain.mkdir()
    for n, source in enumerate((rows, corrections)):
        told = service.append_tables("big", source(count))
        created = pa.scalar(told.created_at, pa.timestamp("us", "UTC"))
        with pq.ParquetWriter(plain / f"{n}.parquet", _schema()) as writer:
            for table in source(count):
                writer.write_table(table.append_column("created_at", pa.repeat(created, table.num_rows)), row_group_size=122_880)
    made.stop()


def _schema() -> pa.Schema:
    values = [(name, pa.float64()) for name in VALUES]
    instant = pa.timestamp("us", "UTC")
    return pa.schema([("time", instant), ("site", pa.string()), *values, ("created_at", instant)])


def drain(reader: Any) -> int:
    return sum(batch.num_rows for batch in reader)


def window() -> tuple[datetime, datetime]:
    start = START + timedelta(days=366)
    return start, start + timedelta(days=365)


def read_ours(home: Path) -> dict[str, float]:
    from mlsys.records import Window

    made = system(home)
    start, end = window()
    ask = Ask(columns=(*KEYS, *VALUES), window=Window(start=start, end=end), known_at=datetime.now(UTC))

    def once() -> int:
        with made.data.reader.rows("big", ask) as reader:
            return drain(reader)

    found = measured(once)
    made.stop()
    return found


PEERS = {
    "row_number": "SELECT {columns} FROM read_parquet('{files}') WHERE {where} "
    "QUALIFY row_number() OVER (PARTITION BY site, time ORDER BY created_at DESC) = 1",
    "arg_max": "SELECT time, site, {newest} FROM read_parquet('{files}') WHERE {where} GROUP BY time, site",
}


def read_peer(plain: Path, name: str) -> dict[str, float]:
    import duckdb

    connection = duckdb.connect(config={"memory_limit": "1GiB", "preserve_insertion_order": False, "temp_directory": str(plain / "spill")})
    connection.execute("SET TimeZone = 'UTC'")
    start, end = window()
    where = f"time >= TIMESTAMPTZ '{start}' AND time < TIMESTAMPTZ '{end}' AND created_at <= TIMESTAMPTZ '{datetime.now(UTC)}'"
    newest = ", ".join(f"arg_max({value}, created_at) AS {value}" for value in VALUES)
    query = PEERS[name].format(columns=", ".join((*KEYS, *VALUES)), newest=newest, files=plain / "*.parquet", where=where)
    return measured(lambda: drain(connection.sql(query).to_arrow_reader(100_000)))


def measured(once: Callable[[], int]) -> dict[str, float]:
    before = peak()
    began = time.perf_counter()
    count = once()
    first = time.perf_counter() - began
    taken = []
    for _ in range(REPEATS):
        gc.collect()
        began = time.perf_counter()
        once()
        taken.append(time.perf_counter() - began)
    return {"rows": count, "first": first, "seconds": statistics.median(taken), "before": before, "peak": peak()}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def append_small(home: Path, times: int) -> dict[str, float]:
    made = system(home)
    made.data.service.create(declaring.declare("small", timestamp="time", series_key=["site"]))
    taken = []
    for n in range(times):
        table = pa.concat_tables(rows(1000, first=n * 1000))
        began = time.perf_counter()
        made.data.service.append_tables("small", [table])
        taken.append(time.perf_counter() - began)
    made.stop()
    return {"p50": statistics.median(taken), "p95": sorted(taken)[int(0.95 * times)]}


def append_large(home: Path, count: int) -> dict[str, float]:
    """Ours and pyarrow's own writer by turns, on the same tables; float columns and the keys."""
    made = system(home)
    tables = list(rows(count))
    ours, theirs = [], []
    for n in range(3):
        made.data.service.create(declaring.declare(f"large-{n}", timestamp="time", series_key=["site"]))
        began = time.perf_counter()
        made.data.service.append_tables(f"large-{n}", tables)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        with pq.ParquetWriter(home / "peer.parquet", tables[0].schema) as writer:
            for table in tables:
                writer.write_table(table)
        theirs.append(time.perf_counter() - began)
    made.stop()
    return {"ours": statistics.median(ours), "theirs": statistics.median(theirs)}


def aside(*arguments: str) -> dict[str, float]:
    """One measurement in a fresh process, so that its memory is its own."""
    done = subprocess.run([sys.executable, __file__, "--part", *arguments], check=True, stdout=subprocess.PIPE, env=os.environ)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


PARTS: dict[str, Callable[..., Any]] = {
    "prepare": lambda home, plain, count: prepare(Path(home), Path(plain), int(count)),
    "ours": lambda home: read_ours(Path(home)),
    "peer": lambda plain, name: read_peer(Path(plain), name),
    "small": lambda home, times: append_small(Path(home), int(times)),
    "large": lambda home, count: append_large(Path(home), int(count)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--append", type=int, default=5_000_000)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything; says little about the bounds")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(PARTS[given.part[0]](*given.part[1:])))
        return 0
    scale = 10 if given.quick else 1
    with tempfile.TemporaryDirectory(prefix="mlsys-bench-") as folder:
        return compare(Path(folder), given.rows // scale, given.append // scale)


def compare(folder: Path, count: int, appended: int) -> int:
    report = harness.Report(f"Data sets: {count:,} rows and {count // 10:,} corrections")
    home, plain = str(folder / "home"), str(folder / "plain")
    aside("prepare", home, plain, str(count))
    peers = {name: aside("peer", plain, name) for name in PEERS}
    ours = aside("ours", home)
    best = min(peers.values(), key=lambda peer: peer["seconds"])
    if len({found["rows"] for found in (ours, *peers.values())}) != 1:
        raise RuntimeError(f"the answers differ: {ours} {peers}")
    for name, peer in peers.items():
        ratio = ours["seconds"] / peer["seconds"]
        what = f"as known at, one year ({ours['rows']:,.0f} rows), DuckDB by {name}"
        report.add(what, f"{ours['seconds']:.2f} s", f"{peer['seconds']:.2f} s", ratio, "<= 1.2", ratio <= 1.2)
    report.add("  first read, files hashed on the way", f"{ours['first']:.2f} s", f"{best['first']:.2f} s")
    report.add("  peak memory, limit 1 GiB", f"{ours['peak']:.0f} MiB", f"{best['peak']:.0f} MiB", bound="<= 1024", ok=ours["peak"] <= 1024)
    small = aside("small", home, "200")
    report.add("append of 1,000 rows, p50", f"{small['p50'] * 1000:.1f} ms", bound="<= 50 ms", ok=small["p50"] <= 0.05)
    report.add("  p95", f"{small['p95'] * 1000:.1f} ms")
    large = aside("large", home, str(appended))
    speed = large["theirs"] / large["ours"]
    report.add(f"append of {appended:,} rows", f"{large['ours']:.2f} s", f"{large['theirs']:.2f} s", speed, ">= 0.5 (speed)", speed >= 0.5)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
