"""Mixed load for half an hour: what grows, what fails, and how long reads take beside a training. ``soak.py [MINUTES]``.

Twenty requests a second, each sent at its time whether or not those before it are answered: trainings, predictions, reads, appends and
corrections of a data set, changes of a webhook whose receiver verifies every event. Two cores are enough for client and server. Exits with
1 for an error, a lost event, or anything that still grows after the warm-up.
"""

import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bench_jobs
from harness import IDLE, ROOT, Client, Report, Server, folder, free_port, ms, percentile, print_table, serving
from holdings import HOLDINGS, MEMORY, MIB, SHARED, Watch

RATE, CLIENTS = 20, 24
TRAIN_EVERY, PREDICT_EVERY, LATE = 40, 3, 0.25  # seconds
READ_P99 = 0.25  # while nothing is trained, on two cores that the clients share
MEMORY_GROWTH, COUNT_GROWTH = 0.05, 1.5  # share of the median; handles, threads
FIRST = datetime(2020, 1, 1, tzinfo=UTC)
SEEDED = 24 * 80  # hours
READS = (
    "/health/",
    "/models",
    "/models/solar",
    "/models/solar/versions?limit=10",
    "/models/solar/production",
    "/models/solar/promotions?limit=20",
    "/models/solar/predictions?start_date=2018-01-01&end_date=2018-01-02",
    "/models/live/predictions?limit=100",
    "/runs?limit=20",
    "/runs?kind=train&limit=5",
    "/runs?status=failed",
    "/events?limit=20",
    "/events?after_sequence=0&type=model.*",
    "/datasets/live",
    "/datasets/live/rows?start_date=2020-03-01&limit=100",
    "/webhooks",
    "/schedules",
    "/openapi.json",
    "/",
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request that was answered. ``begun``: seconds since 1970; ``late``: behind its time."""

    kind: str
    begun: float
    took: float
    late: float


@dataclass(kw_only=True)
class Load:
    """Who asks for what, and what came of it."""

    port: int
    hook: str
    data: Any
    calls: list[Call] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    _own: threading.local = field(default_factory=threading.local)
    _hours: int = SEEDED

    def run(self, seconds: float) -> None:
        with ThreadPoolExecutor(CLIENTS) as clients:
            together = threading.Barrier(CLIENTS)  # all connections from the start: as many as are busy at once would look like growth
            for greeting in [clients.submit(self._greet, together) for _ in range(CLIENTS)]:
                greeting.result()
            begin = time.monotonic()
            for number in range(int(seconds * RATE)):
                due = begin + number / RATE
                time.sleep(max(0.0, due - time.monotonic()))
                clients.submit(self._send, due, *self._next(number))

    def _greet(self, together: threading.Barrier) -> None:
        together.wait(60)
        self._ask("GET", "/health/", None)

    def _next(self, number: int) -> tuple[str, str, str, Any]:
        """(kind, method, path, body) of the request with that number."""
        second, slot = divmod(number, RATE)
        if slot == 0:
            return "append", "POST", "/datasets/live/rows", self._rows(second)
        if slot == 1 and second % TRAIN_EVERY == 0:
            return "train", "POST", "/job/train", _body("solar", *self.data.train)
        if slot == 1 and second % PREDICT_EVERY == 0:
            return "predict", "POST", "/job/predict", self._predicted(second)
        if slot == 2 and second % 5 == 0:
            return "change", "PATCH", f"/webhooks/{self.hook}", {"description": f"second {second}"}
        if slot == 2 and second % 5 == 1:
            return "read", "GET", f"/webhooks/{self.hook}/deliveries?limit=10", None
        if slot == 2 and second % 30 == 2:
            return "accuracy", "GET", "/models/live/accuracy", None
        return "read", "GET", READS[number % len(READS)], None

    def _rows(self, second: int) -> list[dict[str, Any]]:
        """The next hour; every fifth time the correction of an old one."""
        if second % 5 == 4:
            return [_row(second % SEEDED, second)]
        self._hours += 1
        return [_row(self._hours, 0)]

    def _predicted(self, second: int) -> Any:
        if second // PREDICT_EVERY % 2:
            day = (FIRST + timedelta(hours=self._hours)).date() - timedelta(days=1)
            return _body("live", str(day), str(day))
        day = datetime.fromisoformat(self.data.predict[0]).date() + timedelta(days=second % 150)
        return _body("solar", str(day), str(day))

    def _send(self, due: float, kind: str, method: str, path: str, body: Any) -> None:
        begun, begin = time.time(), time.monotonic()
        try:
            self._ask(method, path, body)
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            self.errors[f"{method} {path.partition('?')[0]}: {str(error)[:200] or type(error).__name__}"] += 1
        else:
            self.calls.append(Call(kind=kind, begun=begun, took=time.monotonic() - begin, late=begin - due))

    def _ask(self, method: str, path: str, body: Any) -> Any:
        client = getattr(self._own, "client", None)
        if client is None:
            client = self._own.client = Client(self.port)
        return ask(client, method, path, body)


def ask(client: Client, method: str, path: str, body: Any = None) -> Any:
    """Any answer of success. Raises RuntimeError for another."""
    if time.monotonic() - client.last > IDLE:
        client.connection.close()  # the next request opens another
    client.connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
    response = client.connection.getresponse()
    data = response.read()
    client.last = time.monotonic()
    if response.status >= 300:
        raise RuntimeError(f"{response.status} {data[:300]!r}")
    return json.loads(data) if "json" in response.headers.get("Content-Type", "") else data


def _body(model: str, start: str, end: str) -> dict[str, str]:
    return {"model_name": model, "start_date": start, "end_date": end}


def _row(hour: int, more: float) -> dict[str, Any]:
    return {"time": (FIRST + timedelta(hours=hour)).isoformat(), "power": 10 + hour % 24 + more % 7 / 10}


def main() -> int:
    seconds = 60 * float(sys.argv[1]) if len(sys.argv) > 1 else 1800.0
    data = bench_jobs.solar()
    live = {"source": {"type": "dataset", "name": "live"}, "timestamp": "time", "target": "power", "frequency": "1h", "exogenous": []}
    models = {"solar": bench_jobs.definition(data), "live": {**live, "model": {"type": "lightgbm", "params": {"num_iterations": 50}}}}
    report = Report(f"Mixed load of {RATE} requests a second over {seconds / 60:g} minutes")
    with (
        folder() as home,
        serving(home / "home", models=models, roots=[data.path.parent], MLSYS_WEBHOOKS__ALLOWED_HOSTS="127.0.0.1") as server,
        _receiver(home, server) as (hook, log),
    ):
        _seed(server.client(), data)
        load = Load(port=server.port, hook=hook, data=data)
        with Watch(server=server) as watch, _telling(watch, load):
            load.run(seconds)
        _judge(report, load, server, log)
        _judge_growth(report, watch, seconds)
    return report.finish()


@contextlib.contextmanager
def _receiver(home: Path, server: Server) -> Iterator[tuple[str, Path]]:
    """A webhook for every event, and the log of those that its receiver has verified."""
    port, log = free_port(), home / "received.jsonl"
    made = ask(server.client(), "POST", "/webhooks", {"url": f"http://127.0.0.1:{port}/", "events": ["*"]})
    command = [sys.executable, str(ROOT / "tests" / "acceptance" / "receiver.py"), str(port), made["secret"], str(log)]
    with subprocess.Popen(command) as process:
        try:
            yield made["id"], log
        finally:
            process.kill()


def _seed(client: Client, data: Any) -> None:
    """Both models in production, so that there is something to read and predict with."""
    ask(client, "POST", "/datasets", {"name": "live", "timestamp": "time", "columns": {"power": "number"}})
    ask(client, "POST", "/datasets/live/rows", [_row(hour, hour * 7 % 11) for hour in range(SEEDED + 1)])
    for body in (_body("solar", *data.train), _body("live", "2020-01-01", "2020-03-15")):
        id = ask(client, "POST", "/job/train", body)["id"]
        _idle(client)
        result = ask(client, "GET", f"/runs/{id}")["result"]
        if not result["promoted"]:
            promoted = {"model_name": body["model_name"], "model_version_id": result["model_version_id"]}
            ask(client, "POST", "/model/promote", promoted)


@contextlib.contextmanager
def _telling(watch: Watch, load: Load) -> Iterator[None]:
    """Prints a line a minute while the load runs, and the whole course after it."""
    over = threading.Event()

    def tell() -> None:
        while not over.wait(60):
            print(" | ".join(_line(watch, load)), flush=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    chosen = watch.samples[:: max(1, len(watch.samples) // 15)]
    print()
    print_table(("minute", *HOLDINGS), [(f"{sample.at / 60:.1f}", *map(_shown, HOLDINGS, sample.held)) for sample in chosen])


def _line(watch: Watch, load: Load) -> list[str]:
    sample = watch.samples[-1]
    told = [f"{name} {_shown(name, value)}" for name, value in zip(HOLDINGS, sample.held, strict=True)]
    return [f"{sample.at / 60:.1f} min", f"{len(load.calls)} answers", f"{load.errors.total()} errors", *told]


def _shown(name: str, value: float) -> str:
    return f"{value / MIB:.0f} MiB" if name in MEMORY else f"{value:.0f}"


def _judge(report: Report, load: Load, server: Server, log: Path) -> None:
    client = server.client()
    _idle(client)
    trained = _trainings(client)
    reads: dict[bool, list[float]] = {True: [], False: []}
    for call in load.calls:
        if call.kind == "read":
            reads[any(start < call.begun + call.took and call.begun < end for start, end in trained)].append(call.took)
    for text, count in load.errors.most_common(10):
        print(f"{count} x {text}")
    report.add("requests answered", str(len(load.calls)))
    report.add("errors", str(load.errors.total()), bound="0", ok=not load.errors)
    late = sum(call.late > LATE for call in load.calls)
    report.add(f"requests sent over {ms(LATE)} late", str(late), bound="1 %", ok=late <= 0.01 * len(load.calls))
    for training, name in ((False, "without"), (True, "with")):
        p50, p99 = (percentile(reads[training], share) if reads[training] else 0.0 for share in (0.5, 0.99))
        bound = {"bound": ms(READ_P99), "ok": p99 <= READ_P99} if not training else {}
        report.add(f"p50 of {len(reads[training])} reads {name} a training", ms(p50))
        report.add(f"p99 of {len(reads[training])} reads {name} a training", ms(p99), **bound)  # type: ignore[arg-type]
    for status in ("failed", "crashed"):
        found = len(ask(client, "GET", f"/runs?status={status}&limit=200")["items"])
        report.add(f"runs {status}", str(found), bound="0", ok=found == 0)
    report.add("trainings", str(len(trained)))
    missing = _missing(client, log)
    report.add("events not received and verified", str(missing), bound="0", ok=missing == 0)


def _idle(client: Client) -> None:
    """Until what is queued has run."""
    for status in ("queued", "running"):
        while ask(client, "GET", f"/runs?status={status}&limit=1")["items"]:
            time.sleep(0.2)


def _trainings(client: Client) -> list[tuple[float, float]]:
    runs = ask(client, "GET", "/runs?kind=train&limit=200")["items"]
    return [tuple(datetime.fromisoformat(run[name]).timestamp() for name in ("started_at", "finished_at")) for run in runs]  # type: ignore[misc]


def _missing(client: Client, log: Path) -> int:
    """Events that the receiver has not seen half a minute after the last was written."""
    last = ask(client, "GET", "/events?limit=1&after_sequence=0")
    while (more := ask(client, "GET", f"/events?limit=200&after_sequence={last['last_sequence']}"))["items"]:
        last = more
    wanted = set(range(1, last["last_sequence"] + 1))
    for _ in range(60):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        if not (missing := wanted - {line["sequence"] for line in lines if line["ok"]}):
            break
        time.sleep(0.5)
    return len(missing)


def _judge_growth(report: Report, watch: Watch, seconds: float) -> None:
    after = min(600.0, seconds / 3)
    for name in HOLDINGS:
        median, grown = watch.grown(name, after=after)
        if name in SHARED:  # told, not judged
            report.add(
                f"{name}, least of each half minute: growth after {after / 60:.1f} min", f"{_shown(name, grown)} of {_shown(name, median)}"
            )
            continue
        limit = MEMORY_GROWTH * median if name in MEMORY else COUNT_GROWTH
        report.add(
            f"{name}, least of each half minute: growth after {after / 60:.1f} min",
            f"{_shown(name, grown)} of {_shown(name, median)}",
            bound=_shown(name, limit),
            ok=grown <= limit,
        )


if __name__ == "__main__":
    sys.exit(main())
