"""Look-ups in the registry over HTTP with 1,000 and with 100,000 runs in it, by one client and by eight. Prints one table.

Two servers run side by side, the small and the large registry, and are asked in turn. "ratio" is the large one's time over the small one's.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import filling
import sqlalchemy as sa
from hammer import Connection
from harness import ROOT, Report, Server, clock, folder, median, ms, percentile, serving

from mlsys.storage.database import make_engine
from mlsys.storage.embedded import EmbeddedPostgres

SIZES = {"small": 1_000, "large": 100_000}
MODELS, ROUNDS, CLIENTS, SECONDS = 4, 300, 8, 5.0
P50, GROWTH, RATE = 0.010, 1.5, 5 * 130
SAMPLE = {
    "source": {"type": "parquet", "path": "pv_power.parquet"},
    "timestamp": "timestamp",
    "target": "power",
    "model": {"type": "lightgbm", "params": {"num_iterations": 50}},
}
JOB = {"model_name": "real", "start_date": "2012-01-01", "end_date": "2012-12-31"}


def main() -> int:
    report = Report("Registry look-ups over HTTP, 1,000 runs (peer) and 100,000 runs")
    with folder() as homes, _filled(homes / "small", SIZES["small"]) as small, _filled(homes / "large", SIZES["large"]) as large:
        servers = {"small": small, "large": large}
        paths = {name: _paths(server) for name, server in servers.items()}
        for what, bound in _WHAT:
            _measure(report, what, bound, {name: (server, paths[name][what]) for name, server in servers.items()})
        _crowd(report, large, paths["large"])
    return report.finish()


@contextlib.contextmanager
def _filled(home: Path, count: int) -> Iterator[Server]:
    """A server whose registry holds ``count`` runs."""
    with serving(home, models={"real": SAMPLE}) as server:
        client = server.client()
        trained = client.job("train", JOB)
        version = trained["result"]["model_version_id"]  # named, so that it need not pass the gate
        train, predict = trained["id"], client.job("predict", JOB | {"end_date": "2012-01-02", "model_version_id": version})["id"]
        engine = make_engine(EmbeddedPostgres(home=home).url, pool_size=1, statement_timeout_seconds=600)
        filling.fill(engine, train=train, predict=predict, model="real", count=count, models=MODELS)
        engine.dispose()
        yield server


_PAGE, _OTHER = True, False  # whether the issue sets a bound
_WHAT = (
    ("GET /runs/{id}", _PAGE),
    ("GET /models/{name}/production", _PAGE),
    ("GET /runs?limit=50", _PAGE),
    ("GET /runs?limit=50&cursor= (middle)", _OTHER),
    ("GET /runs?limit=50&cursor= (oldest)", _OTHER),
    ("GET /runs?limit=50&status=succeeded", _OTHER),
    ("GET /runs?limit=50&status=cancelled (0.1 %)", _OTHER),
    ("GET /runs?limit=50&status=running (none)", _OTHER),
    ("GET /runs?limit=50&kind=train", _OTHER),
    ("GET /runs?limit=50&trigger=api", _OTHER),
    ("GET /runs?limit=50&model_name=", _OTHER),
    ("GET /runs?limit=50&model_name=&status=cancelled", _OTHER),
    ("GET /models", _OTHER),
    ("GET /models/{name}", _OTHER),
    ("GET /models/{name}/versions?limit=50", _OTHER),
    ("GET /models/{name}/promotions?limit=50", _OTHER),
    ("GET /health/", _OTHER),
)


def _paths(server: Server) -> dict[str, list[str]]:
    """The addresses behind each line of the table: several for single rows, so that no one row is always in the nearest cache."""
    from mlsys.registry import pages

    engine = make_engine(EmbeddedPostgres(home=server.home).url, pool_size=1, statement_timeout_seconds=60)
    with engine.connect() as connection:
        ids = list(connection.scalars(sa.text("SELECT id FROM runs WHERE model_name LIKE 'many%' ORDER BY md5(id) LIMIT 50")))
        last = connection.execute(sa.text("SELECT max(seq) FROM runs")).scalar_one()
    engine.dispose()
    cursors = {"(middle)": pages.encode(last // 2), "(oldest)": pages.encode(60)}
    names = [f"many_{i}" for i in range(MODELS)]
    found = {}
    for what, _ in _WHAT:
        path = what.removeprefix("GET ").split(" ")[0]
        if path.endswith("cursor="):
            path += next(cursor for where, cursor in cursors.items() if where in what)
        fillings = ids if "{id}" in path else names
        found[what] = [path.replace("{id}", x).replace("{name}", x).replace("model_name=", f"model_name={x}") for x in fillings]
    return found


def _measure(report: Report, what: str, bounded: bool, asked: dict[str, tuple[Server, list[str]]]) -> None:
    connections = {name: (Connection(server.port), paths) for name, (server, paths) in asked.items()}
    found: dict[str, list[float]] = {name: [] for name in asked}
    for i in range(ROUNDS + 20):
        for name, (connection, paths) in connections.items():
            path = paths[i % len(paths)]
            found[name].append(clock(partial(connection.get, path)))
    small, large = (median(found[name][20:]) for name in ("small", "large"))
    tail = f"{ms(large)} (p99 {ms(percentile(found['large'][20:], 0.99))})"
    bound = f"<= {P50 * 1000:.0f} ms, < {GROWTH}x" if bounded else ""
    ok = (large <= P50 and large / small < GROWTH) if bounded else None
    report.add(what, tail, ms(small), large / small, bound, ok)


def _crowd(report: Report, server: Server, paths: dict[str, list[str]]) -> None:
    """Eight clients in a process of their own, for each of the two look-ups of one row."""
    for what in ("GET /runs/{id}", "GET /models/{name}/production", "GET /runs?limit=50"):
        command = [sys.executable, str(ROOT / "benchmarks" / "hammer.py"), str(server.port), str(CLIENTS), str(SECONDS), *paths[what]]
        rounds = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(3)]
        rate, p99 = median([r["rate"] for r in rounds]), median([r["p99"] for r in rounds])
        bound, ok = (f">= {RATE}/s", rate >= RATE) if "limit" not in what else ("", None)
        report.add(
            f"{CLIENTS} clients: {what}", f"{rate:.0f}/s (p99 {ms(p99)})", "90-130/s (MLflow 3.17)" if bound else "", None, bound, ok
        )


if __name__ == "__main__":
    sys.exit(main())
