"""Production as of an instant over HTTP, of a model with 1,000 and with 100,000 versions and promotions. Prints one table.

Two servers run side by side and are asked in turn, for instants all over the log. "ratio" is the large one's time over the small one's.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import filling
import sqlalchemy as sa
from bench_registry import JOB, SAMPLE
from hammer import Connection
from harness import Report, Server, clock, folder, median, ms, percentile, serving

from mlsys.clock import rfc3339
from mlsys.registry.promotions import digest
from mlsys.storage import tables
from mlsys.storage.database import make_engine
from mlsys.storage.embedded import EmbeddedPostgres

SIZES = {"small": 1_000, "large": 100_000}
ROUNDS, INSTANTS, WARM = 300, 50, 20
P50 = 0.010
NAME = "many_0"
BEHIND = timedelta(milliseconds=500)  # between two promotions, which are a second apart

Asked = dict[str, list[tuple[str, str]]]  # paths with the version that each must tell


def main() -> int:
    report = Report("Production as of an instant over HTTP, 1,000 versions and promotions (peer) and 100,000")
    with folder() as homes, _filled(homes / "small", SIZES["small"]) as small, _filled(homes / "large", SIZES["large"]) as large:
        found = {"small": (small, _asked(small)), "large": (large, _asked(large))}
        for what in found["large"][1]:
            _measure(report, what, {name: (server, asked[what]) for name, (server, asked) in found.items()})
    return report.finish()


@contextlib.contextmanager
def _filled(home: Path, count: int) -> Iterator[Server]:
    """A server with a model of ``count`` versions, each promoted in its turn: every filled run trains, every version is promoted."""
    with serving(home, models={"real": SAMPLE}) as server:
        client = server.client()
        trained = client.job("train", JOB)
        version = trained["result"]["model_version_id"]  # named, so that it need not pass the gate
        train, predict = trained["id"], client.job("predict", JOB | {"end_date": "2012-01-02", "model_version_id": version})["id"]
        engine = make_engine(EmbeddedPostgres(home=home).url, pool_size=1, statement_timeout_seconds=600)
        filling.TRAININGS = filling.PROMOTED = 1
        filling.fill(engine, train=train, predict=predict, model="real", count=count, models=1)
        _check(engine, count)
        engine.dispose()
        yield server


def _check(engine: sa.Engine, count: int) -> None:
    """What is measured is what is claimed: so many versions, so many promotions, in a chain that holds."""
    query = sa.select(tables.promotions).where(tables.promotions.c.model_name == NAME).order_by(tables.promotions.c.sequence)
    with engine.connect() as connection:
        entries = connection.execute(query).mappings().all()
        versions = connection.scalar(sa.text("SELECT count(*) FROM model_versions WHERE model_name = :name"), {"name": NAME})
    if (versions, len(entries)) != (count, count) or any(digest(entry) != entry["hash"] for entry in entries):
        raise RuntimeError(f"the registry was not filled as it should be: {versions} versions, {len(entries)} promotions")


def _asked(server: Server) -> Asked:
    engine = make_engine(EmbeddedPostgres(home=server.home).url, pool_size=1, statement_timeout_seconds=60)
    query = "SELECT created_at, model_version_id FROM promotions WHERE model_name = :name ORDER BY {order} LIMIT :limit"
    with engine.connect() as connection:
        entries = {
            what: connection.execute(sa.text(query.format(order=order)), {"name": NAME, "limit": INSTANTS}).all()
            for what, order in (("anywhere in the log", "md5(hash)"), ("its beginning", "sequence"), ("its end", "sequence DESC"))
        }
    engine.dispose()
    path = f"/models/{NAME}/production"
    found: Asked = {"GET /models/{name}/production, for comparison": [(path, entries["its end"][0][1])]}
    for what, rows in entries.items():
        told = [(f"{path}?as_of={rfc3339(at + BEHIND)}", version) for at, version in rows]
        found["GET /models/{name}/production?as_of=, " + what] = told
    return found


def _measure(report: Report, what: str, asked: dict[str, tuple[Server, list[tuple[str, str]]]]) -> None:
    connections = {name: (Connection(server.port), paths) for name, (server, paths) in asked.items()}
    for connection, paths in connections.values():
        for path, version in paths:
            told = json.loads(connection.get(path))
            if told["model_version_id"] != version:
                raise RuntimeError(f"{path} tells of {told['model_version_id']}, but {version} was in production")
    took: dict[str, list[float]] = {name: [] for name in asked}
    for i in range(ROUNDS + WARM):
        for name, (connection, paths) in connections.items():
            took[name].append(clock(partial(connection.get, paths[i % len(paths)][0])))
    small, large = (median(took[name][WARM:]) for name in ("small", "large"))
    bounded = "as_of" in what
    tail = f"{ms(large)} (p99 {ms(percentile(took['large'][WARM:], 0.99))})"
    bound = f"<= {P50 * 1000:.0f} ms" if bounded else ""
    report.add(what, tail, ms(small), large / small, bound, large <= P50 if bounded else None)


if __name__ == "__main__":
    sys.exit(main())
