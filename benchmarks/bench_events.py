"""The event log: appended to by four writers, followed over HTTP, and read by the page when it is short and when it is long. One table.

The floor of the writing is a table of the same columns, written by psycopg2 alone in as many commits: no trigger, no number, no reader. The
floor of the following is PostgreSQL's own NOTIFY to a thread that listens. Readers here are threads of the process that writes.
"""

import contextlib
import json
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg2
import sqlalchemy as sa
from harness import Client, Report, alternate, folder, free_port, median, ms, percentile

from mlsys import bootstrap, config
from mlsys.api import server as http
from mlsys.application import make_app
from mlsys.system import System

WRITERS, EVENTS, ROUNDS, PROBES = 4, 400, 3, 100
SHORT, LONG = 1_000, 100_000
SHARE, P50, GROWTH, PAGE = 0.4, 0.025, 1.5, 0.010
PLAIN = "CREATE TABLE plain (id bigserial PRIMARY KEY, type text NOT NULL, timestamp timestamptz NOT NULL, data jsonb NOT NULL)"
INSERT = "INSERT INTO plain (type, timestamp, data) VALUES ('data.appended', now(), %s)"
FILL = """
INSERT INTO events (type, timestamp, data)
SELECT 'data.appended', now(), jsonb_build_object('dataset', 'site', 'rows', n, 'run_id', null) FROM generate_series(1, :count) AS n
"""


@contextlib.contextmanager
def running(home: Path) -> Iterator[tuple[System, int]]:
    """A system that serves on a port, from this process."""
    home.with_suffix(".yaml").write_text(json.dumps({"logging": {"level": "error"}}))
    system = bootstrap.build(config.load(home.with_suffix(".yaml"), environ={}, overrides={"home": str(home)}))
    system.start()
    port, limits = free_port(), system.services.limits
    sizes = {"max_body_bytes": limits.max_body_bytes, "max_upload_bytes": limits.max_upload_bytes}
    farewell = system.services.follower.close
    server = http.bind(make_app(system.services), host="127.0.0.1", port=port, threads=8, farewell=farewell, **sizes)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield system, port
    finally:
        server.task_dispatcher.shutdown()  # lets readers who wait go
        server.close()
        thread.join(5)
        system.stop()


def main() -> int:
    report = Report(f"The event log: {WRITERS} writers, readers over HTTP, pages of 50")
    with folder() as homes, running(homes / "short") as short, running(homes / "long") as long:
        _paged(report, short, long)
        _appended(report, short[0])
        _followed(report, *short)
    return report.finish()


# -- writing


def _appended(report: Report, system: System) -> None:
    with system.engine.begin() as connection:
        connection.execute(sa.text(PLAIN))
    calls = {
        "log": lambda: _by_all(lambda: _write(system)),
        "numbered": lambda: _numbered(system),
        "plain": lambda: _by_all(lambda: _plain(system)),
    }
    seconds = {name: median(values) for name, values in alternate(calls, times=ROUNDS).items()}
    total = WRITERS * EVENTS
    written, whole, floor = (total / seconds[name] for name in ("log", "log", "plain"))
    whole = total / (seconds["log"] + seconds["numbered"])
    what = f"events of {WRITERS} writers, a commit each"
    report.add(f"{what}: committed", f"{written:.0f}/s", f"{floor:.0f}/s", written / floor)
    report.add(f"{what}: the last one numbered", f"{whole:.0f}/s", f"{floor:.0f}/s", whole / floor, f">= {SHARE}", whole / floor >= SHARE)


def _by_all(write: Callable[[], None]) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(write) for _ in range(WRITERS)]:
            done.result()


def _write(system: System) -> None:
    for number in range(EVENTS):
        with system.services.units() as unit:
            unit.events.append("data.appended", {"number": number})
            unit.commit()


def _plain(system: System) -> None:
    with contextlib.closing(_connected(system)) as connection:
        for number in range(EVENTS):
            with connection.cursor() as cursor:
                cursor.execute(INSERT, (json.dumps({"number": number}),))
            connection.commit()


def _numbered(system: System) -> None:
    """Until nothing waits for its number."""
    while True:
        with system.services.units() as unit:
            if not unit.event_log.waiting():
                return
        time.sleep(0.001)


def _connected(system: System) -> Any:
    url = system.engine.url
    return psycopg2.connect(dbname=url.database, user=url.username, host=url.query["host"], port=url.query["port"])


# -- following


def _followed(report: Report, system: System, port: int) -> None:
    floor = _probed(_notify(system), _listening(system))
    for name, heard in (("server-sent events", _streaming(port)), ("a long poll", _polling(system, port))):
        took = _probed(lambda: _emit(system), heard)
        p50, bound = median(took), f"<= {P50 * 1000:.0f} ms"
        report.add(f"commit to {name}, p50 (peer: NOTIFY)", ms(p50), ms(median(floor)), bound=bound, ok=p50 <= P50)
        report.add(f"commit to {name}, p99", ms(percentile(took, 0.99)), ms(percentile(floor, 0.99)))


def _probed(emit: Callable[[], float], heard: Iterator[float]) -> list[float]:
    """Seconds from the return of a commit to its being heard of, one after the other. ``heard`` gives when, each time something came."""
    next(heard)  # it is there
    arrived: list[float] = []
    came = threading.Semaphore(0)

    def listen() -> None:
        for at in heard:
            arrived.append(at)
            came.release()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    took = []
    for _ in range(PROBES + 10):
        time.sleep(0.03)
        begin = emit()
        assert came.acquire(timeout=30), "nothing came"
        took.append(max(0.0, arrived[-1] - begin))
    _over.set()
    listener.join(5)
    _over.clear()
    return took[10:]


_over = threading.Event()
"""Who hears may stop: looked at twice a second."""


def _emit(system: System) -> float:
    with system.services.units() as unit:
        unit.events.append("data.appended", {"number": 1})
        unit.commit()
    return time.monotonic()


def _streaming(port: int) -> Iterator[float]:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"GET /events/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        connection.recv(1 << 16)
        yield time.monotonic()
        while not _over.is_set():
            if select.select([connection], [], [], 0.5)[0]:
                yield from [time.monotonic()] * connection.recv(1 << 16).count(b"\ndata: ")


def _polling(system: System, port: int) -> Iterator[float]:
    client = Client(port)
    after = system.services.follower.last()
    yield time.monotonic()
    while not _over.is_set():
        found = json.loads(client.get(f"/events?after_sequence={after}&wait=0.5"))
        if found["items"]:
            yield time.monotonic()
        after = found["last_sequence"]
    client.connection.close()


def _notify(system: System) -> Callable[[], float]:
    connection = _connected(system)

    def emit() -> float:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify('bench', '')")
        connection.commit()
        return time.monotonic()

    return emit


def _listening(system: System) -> Iterator[float]:
    connection = _connected(system)
    connection.autocommit = True
    connection.cursor().execute("LISTEN bench")
    yield time.monotonic()
    while not _over.is_set():
        if select.select([connection], [], [], 0.5)[0]:
            connection.poll()
            yield from [time.monotonic()] * len(connection.notifies)
            connection.notifies.clear()
    connection.close()


# -- reading


def _paged(report: Report, short: tuple[System, int], long: tuple[System, int]) -> None:
    calls = {}
    for size, (system, port) in ((SHORT, short), (LONG, long)):
        begin = time.monotonic()
        _fill(system, size)
        if size == LONG:
            report.add(
                f"a backlog of {LONG:,} events, written in one transaction and numbered", f"{LONG / (time.monotonic() - begin):.0f}/s"
            )
        client = Client(port)
        for where, after in (("oldest", 0), ("newest", size - 50)):
            calls[f"{size} {where}"] = lambda client=client, after=after: _page(client, after)
    took = {name: median(values) for name, values in alternate(calls, times=200, warm=20).items()}
    for where in ("oldest", "newest"):
        mine, peer = took[f"{LONG} {where}"], took[f"{SHORT} {where}"]
        ok = mine <= PAGE and mine / peer < GROWTH
        bound = f"<= {PAGE * 1000:.0f} ms, < {GROWTH}x"
        report.add(f"page of 50, the {where}, of {LONG:,} events (peer: of {SHORT:,})", ms(mine), ms(peer), mine / peer, bound, ok)


def _fill(system: System, size: int) -> None:
    """So many events, all numbered, and what the database knows of its tables renewed."""
    with system.engine.begin() as connection:
        connection.execute(sa.text(FILL), {"count": size})
    _numbered(system)
    with system.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE events, event_sequence, event_queue"))


def _page(client: Client, after: int) -> None:
    found = json.loads(client.get(f"/events?after_sequence={after}&limit=50"))
    assert len(found["items"]) == 50


if __name__ == "__main__":
    sys.exit(main())
