"""The cost of a run itself: jobs that do nothing, beside a bare pool of threads that makes the same durable commits. Prints one table.

The floor knows its queue by heart: a pool of threads is handed the id, and the same rows, with the spec that a run of mlsys has, are
written to the same tables by as many commits with psycopg2 alone (queued: durable; running: not waited for; ended: durable). Its events are
numbered by the mlsys that runs beside it, as that one's own are. mlsys also finds out who is next, checks the request, and answers HTTP.
``bench_runs.py --serve HOME`` is the server under test: mlsys whose trainings do nothing.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import celery_peer
import psycopg2
import psycopg2.pool
import sqlalchemy as sa
from harness import ROOT, Client, Report, alternate, clock, folder, free_port, median, ms

from mlsys import bootstrap, config
from mlsys.api import server as http
from mlsys.application import make_app
from mlsys.execution.requests import TrainRequest
from mlsys.ids import new_id
from mlsys.pipelines.base import Reporter
from mlsys.records import Run
from mlsys.system import System

BURST, SINGLE, ROUNDS, CLIENTS, WORKERS = 1_000, 200, 5, 4, 2
HTTP_RATE, SHARE, LATENCY, CELERY = 250, 0.7, 1.2, 1.5
SAMPLE = {"source": {"type": "parquet", "path": "pv_power.parquet"}, "timestamp": "timestamp", "target": "power"}
ASKED = {"model_name": "bench", "start_date": "2012-01-01T00:00:00Z", "end_date": "2012-02-01T00:00:00Z"}
begun: list[str] = []


def nothing(run: Run, reporter: Reporter) -> Any:
    begun.append(run.id)
    return lambda unit: {}


def system(home: Path) -> System:
    home.mkdir(exist_ok=True)
    settings = home.with_suffix(".json")
    execution = {"workers": WORKERS, "concurrent_trainings": True, "max_queued": 2 * BURST}
    settings.write_text(json.dumps({"models": {"bench": SAMPLE}, "execution": execution, "logging": {"level": "error"}}))
    return bootstrap.build(config.load(settings, environ={}, overrides={"home": str(home)}), handlers={"train": nothing})


def serve(home: str, port: str) -> None:
    built = system(Path(home))
    built.start()
    limits = built.services.limits
    sizes = {"max_body_bytes": limits.max_body_bytes, "max_upload_bytes": limits.max_upload_bytes}
    http.bind(make_app(built.services), host="127.0.0.1", port=int(port), threads=8, **sizes).run()


class Floor:
    """Threads with a connection each, handed ids; the statements are those of the run registry, without its choices."""

    def __init__(self, url: sa.URL, spec: dict[str, Any]) -> None:
        self._spec = json.dumps(spec)
        given = {"dbname": url.database, "user": url.username, "host": url.query["host"], "port": url.query["port"]}
        self._connections = psycopg2.pool.ThreadedConnectionPool(WORKERS + 2, WORKERS + 2, **given)
        self._pool = ThreadPoolExecutor(WORKERS)

    def submit(self) -> "Future[None]":
        id = new_id()
        self._commit(_QUEUE, {"id": id, "spec": self._spec, "detail": "{}", "status": "queued", "event": "run.queued"})
        return self._pool.submit(self._run, id)

    def _run(self, id: str) -> None:
        self._commit(_BEGIN, {"id": id, "detail": "{}", "status": "running", "event": "run.started"})
        self._commit(_END, {"id": id, "detail": '{"result": {}}', "status": "succeeded", "event": "run.succeeded"})

    def _commit(self, statement: str, values: dict[str, Any]) -> None:
        connection = self._connections.getconn()
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
        connection.commit()
        self._connections.putconn(connection)


_TOLD = """
told AS (INSERT INTO run_history (run_id, status, attempt, at, detail) SELECT id, %(status)s, 1, now(), %(detail)s::jsonb FROM moved),
event AS (INSERT INTO events (type, timestamp, data) SELECT %(event)s, now(), jsonb_build_object('run_id', id, 'kind', 'train',
    'model_name', 'bench', 'attempt', 1, 'status', %(status)s::text) || %(detail)s::jsonb FROM moved)
"""
_QUEUE = f"""
WITH moved AS (INSERT INTO runs (id, kind, model_name, trigger, spec, created_at)
    VALUES (%(id)s, 'train', 'floor', '{{"type": "api"}}', %(spec)s::jsonb, now()) RETURNING id, seq),
state AS (INSERT INTO run_state (run_id, run_seq, status, attempt, not_before) SELECT id, seq, %(status)s, 1, 'infinity' FROM moved),
{_TOLD} SELECT 1
"""
_BEGIN = f"""
WITH moved AS (UPDATE run_state SET status = %(status)s, owner = 1, started_at = now() WHERE run_id = %(id)s RETURNING run_id AS id),
{_TOLD}
SELECT set_config('synchronous_commit', 'off', true)
"""
_END = f"""
WITH moved AS (UPDATE run_state SET status = %(status)s, owner = NULL, finished_at = now() WHERE run_id = %(id)s RETURNING run_id AS id),
{_TOLD} SELECT 1
"""


def main() -> int:
    report = Report("Runs that do nothing, against a bare pool that makes the same commits")
    if absent := celery_peer.missing():
        print(f"not installed: {absent}. The line about Celery is left out")
    with folder() as home:
        with nullcontext() if absent else celery_peer.bursts(home / "celery") as burst_of_celery:
            _inside(report, home / "inside", burst_of_celery)
        with _served(home / "served") as port:
            _over_http(report, port)
    return report.finish()


FOUND: dict[str, float] = {}


def _inside(report: Report, home: Path, burst_of_celery: Callable[[int], None] | None) -> None:
    built = system(home)
    built.start()
    try:
        floor = _floor(built)
        FOUND["floor"] = median([clock(lambda: floor.submit().result()) for _ in range(SINGLE)])
        calls: dict[str, Callable[[], Any]] = {
            "floor": lambda: [future.result() for future in [floor.submit() for _ in range(BURST)]],
            "mlsys": lambda: _burst(built),
        }
        if burst_of_celery is not None:
            calls["celery"] = partial(burst_of_celery, BURST)
        rates = {name: BURST / median(times) for name, times in alternate(calls, times=ROUNDS).items()}
    finally:
        built.stop()
    for peer, share in (("floor", SHARE), ("celery", CELERY)):
        if peer in rates:
            what = f"burst of {BURST:,} submitted in-process (peer: {peer}; median of {ROUNDS})"
            ratio = rates["mlsys"] / rates[peer]
            report.add(what, f"{rates['mlsys']:.0f} /s", f"{rates[peer]:.0f} /s", ratio, f">= {share}x", ratio >= share)


def _floor(built: System) -> Floor:
    _burst(built, number=1)
    with built.services.units() as unit:
        spec = dict(unit.runs.list(filters={}, limit=1, cursor=None).items[0].spec)
    return Floor(sa.make_url(str(built.engine.url.render_as_string(hide_password=False))), spec)


def _burst(built: System, number: int = BURST) -> None:
    start, end = (datetime.fromisoformat(ASKED[name]) for name in ("start_date", "end_date"))
    request = TrainRequest(model_name=ASKED["model_name"], start_date=start, end_date=end)
    begun.clear()
    for _ in range(number):
        built.services.jobs.train(request, trigger={"type": "api"})
    while len(begun) < number or built.runner.pending:  # asking the database would cost it what is measured
        time.sleep(0.002)


@contextmanager
def _served(home: Path) -> Iterator[int]:
    port = free_port()
    with home.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen([sys.executable, __file__, "--serve", str(home), str(port)], cwd=ROOT, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                Client(port).get("/health/")
                break
            except (OSError, RuntimeError):
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(40)


def _over_http(report: Report, port: int) -> None:
    client = Client(port)
    run = client.job("train", ASKED)
    answer = median([clock(lambda: client.get(f"/runs/{run['id']}")) for _ in range(SINGLE)])
    mine = median([clock(lambda: client.job("train", ASKED)) for _ in range(SINGLE)])
    bound = LATENCY * FOUND["floor"] + answer
    limit = f"<= {LATENCY}x + {ms(answer)} (an answer of HTTP)"
    what = f"one at a time over HTTP, submitted to finished (p50 of {SINGLE})"
    report.add(what, ms(mine), ms(FOUND["floor"]), mine / FOUND["floor"], limit, mine <= bound)
    rate = BURST / clock(lambda: _burst_over_http(port))
    what = f"burst of {BURST:,} over HTTP by {CLIENTS} clients, to the last finished"
    report.add(what, f"{rate:.0f} /s", bound=f">= {HTTP_RATE} /s", ok=rate >= HTTP_RATE)


def _burst_over_http(port: int) -> None:
    body, headers = json.dumps(ASKED), {"Content-Type": "application/json"}

    def post(number: int) -> None:
        client = Client(port)
        for _ in range(BURST // CLIENTS):
            client.connection.request("POST", "/job/train", body, headers)
            response = client.connection.getresponse()
            response.read()
            assert response.status == 202, response.status

    threads = [threading.Thread(target=post, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client = Client(port)
    while json.loads(client.get("/runs?status=queued&limit=1"))["items"] or json.loads(client.get("/runs?status=running&limit=1"))["items"]:
        time.sleep(0.05)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:4])
    else:
        sys.exit(main())
