"""Webhooks, with receivers in another process on loopback: deliveries a second, milliseconds from commit to receipt, what slow ones cost.

The floor is a bare loop of as many threads over an HTTP client that neither signs, nor keeps a log, nor survives anything: urllib3's pool,
and mlsys' own outbound function. mlsys claims, signs, sends and notes each delivery in PostgreSQL. Prints one table.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import urllib3
from harness import Report, folder, median, ms, percentile

from mlsys import bootstrap, config
from mlsys.system import System
from mlsys.webhooks.outbound import Outbound

COUNT, THREADS, ROUNDS, SLOW, PROBES = 1000, 32, 3, 20, 100
RATIO, P50, GROWTH = 0.6, 0.025, 2.0
BODY = json.dumps({"type": "data.appended", "timestamp": "2020-01-01T00:00:00Z", "sequence": 1, "data": {"number": 1}}).encode()


class Subscribers:
    """The process with the receivers."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{self._line()}"

    def arrived(self) -> list[tuple[str, float]]:
        """What came since this was last asked: path, time.monotonic() (one clock for all processes of a machine)."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return [(path, at) for path, at in json.loads(self._line())]

    def wait(self, count: int, of: Callable[[str], bool] = lambda path: True) -> list[tuple[str, float]]:
        found: list[tuple[str, float]] = []
        while len(found) < count:
            time.sleep(0.01)
            found += [(path, at) for path, at in self.arrived() if of(path)]
        return found

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextlib.contextmanager
def subscribers() -> Iterator[Subscribers]:
    command = [sys.executable, str(Path(__file__).with_name("subscriber.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            found = Subscribers(process)
            found.url = found.url.strip()
            yield found
        finally:
            process.kill()


@contextlib.contextmanager
def running(home: Path) -> Iterator[System]:
    overrides = {"home": str(home), "webhooks.allowed_hosts": ["127.0.0.1"], "webhooks.threads": THREADS}
    home.with_suffix(".yaml").write_text("{}")
    system = bootstrap.build(config.load(home.with_suffix(".yaml"), environ={}, overrides=overrides))
    system.start()
    try:
        yield system
    finally:
        system.stop()


def main() -> int:
    report = Report(f"Webhooks, {THREADS} threads, receivers on loopback in another process")
    with folder() as homes, subscribers() as others, running(homes / "home") as system:
        _throughput(report, system, others)
        _latency(report, system, others)
    return report.finish()


def _throughput(report: Report, system: System, others: Subscribers) -> None:
    rates: dict[str, list[float]] = {"urllib3": [], "outbound": [], "one": [], "many": []}
    for _ in range(ROUNDS):
        rates["urllib3"].append(_bare(others, _urllib3()))
        rates["outbound"].append(_bare(others, _outbound()))
        rates["one"].append(_delivered(system, others, ["/0/one"], events=COUNT))
        rates["many"].append(_delivered(system, others, [f"/0/{n}" for n in range(COUNT)], events=1))
    for name, what in (("one", f"{COUNT:,} events to 1 subscriber"), ("many", f"1 event to {COUNT:,} subscribers")):
        mine = median(rates[name])
        for peer, bound in (("urllib3", True), ("outbound", False)):
            floor = median(rates[peer])
            ok = mine / floor >= RATIO if bound else None
            report.add(what, f"{mine:.0f}/s", f"{floor:.0f}/s ({peer})", mine / floor, f">= {RATIO}" if bound else "", ok)


def _bare(others: Subscribers, post: Callable[[str], Any]) -> float:
    others.arrived()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(post, [f"{others.url}/0/bare"] * 200))
        begin = time.monotonic()
        list(pool.map(post, [f"{others.url}/0/bare"] * COUNT))
        return COUNT / (time.monotonic() - begin)


def _urllib3() -> Callable[[str], Any]:
    pool = urllib3.PoolManager(maxsize=THREADS, retries=False, block=True)
    return lambda url: pool.request("POST", url, body=BODY, headers={"Content-Type": "application/json"})


def _outbound() -> Callable[[str], Any]:
    outbound = Outbound(allowed_hosts=["127.0.0.1"])
    return lambda url: outbound.post(url, BODY, {"Content-Type": "application/json"})


def _delivered(system: System, others: Subscribers, paths: list[str], *, events: int) -> float:
    """Deliveries a second, from the commit of the events to the note in the log of the last one."""
    ids = [_subscribe(system, others.url + path) for path in paths]
    begin = _emit(system, events)
    total = events * len(paths)
    query = sa.text("SELECT count(*) FROM deliveries WHERE state = 'delivered' AND webhook_id = ANY(:ids)")
    with system.engine.connect() as connection:
        while connection.execute(query, {"ids": ids}).scalar_one() < total:
            connection.rollback()
            time.sleep(0.005)
    rate = total / (time.monotonic() - begin)
    for id in ids:
        system.services.webhooks.delete(id)
    return rate


def _latency(report: Report, system: System, others: Subscribers) -> None:
    id = _subscribe(system, f"{others.url}/0/idle")
    _probe(system, others, 10)
    alone = _probe(system, others, PROBES)
    report.add(
        "commit to receipt, idle, p50",
        ms(median(alone)),
        "75 ms (MLflow 3)",
        median(alone) / 0.075,
        f"<= {P50 * 1000:.0f} ms",
        median(alone) <= P50,
    )
    slow = [_subscribe(system, f"{others.url}/5/{n}") for n in range(SLOW)]
    _probe(system, others, 10)
    beside = _probe(system, others, PROBES)
    before, after = percentile(alone, 0.99), percentile(beside, 0.99)
    report.add(
        f"the same beside {SLOW} subscribers that take 5 s, p99",
        ms(after),
        f"{ms(before)} alone",
        after / before,
        f"< {GROWTH}x",
        after / before < GROWTH,
    )
    report.add(
        f"the same beside {SLOW} subscribers that take 5 s, p50",
        ms(median(beside)),
        f"{ms(median(alone))} alone",
        median(beside) / median(alone),
    )
    for each in (id, *slow):
        system.services.webhooks.delete(each)


def _probe(system: System, others: Subscribers, count: int) -> list[float]:
    """Seconds from commit to receipt, one event after the other."""
    found = []
    for _ in range(count):
        begin = _emit(system, 1)
        found.append(others.wait(1, lambda path: path.startswith("/0/"))[0][1] - begin)
        time.sleep(0.05)
    return found


def _subscribe(system: System, url: str) -> str:
    state, _ = system.services.webhooks.create({"url": url, "events": ("data.*",)})
    return state.webhook.id


def _emit(system: System, count: int) -> float:
    """When the commit of so many events had returned."""
    with system.services.units() as unit:
        for number in range(count):
            unit.events.append("data.appended", {"number": number})
        unit.commit()
    return time.monotonic()


if __name__ == "__main__":
    sys.exit(main())
