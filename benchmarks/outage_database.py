"""By hand: PostgreSQL cut for 30 s (or as many as given), later restarted, while everything goes on. Exits 1 if anything is lost.

python benchmarks/outage_database.py [SECONDS]. A real server, its PostgreSQL behind the tests' proxy, a receiver in another process.
Clients submit runs under a key and ask again until they are taken; five schedules fire each minute, once of them within the cut; a reader
follows the events. What became of it all is read from the database itself, past the proxy, and printed as a table.
"""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import urllib3
from harness import ROOT, Report, folder, free_port, serving

from mlsys.storage.embedded import EmbeddedPostgres

sys.path.append(str(ROOT / "tests"))
import front
from proxy import Proxy

MINUTE = 60
BEFORE = 12  # seconds between the cut and the full minute that falls into it
SOON = 2.0  # seconds in which health is to tell of a cut
AGAIN = 15.0  # and in which it is well again
SCHEDULES = 5
SCHEDULE = {"kind": "train", "model_name": "fired", "cron": "* * * * *", "window": {"start": "-P3650D", "end": "PT0S"}, "overlap": "queue"}
NAIVE = front.definition(checks={"completeness": False}, model={"type": "seasonal_naive"})
MODELS = {"asked": front.definition(), "fired": NAIVE}
HTTP = urllib3.PoolManager(maxsize=8, retries=False, timeout=65)


class Going:
    """Threads that load the server until they are told to stop, each call again and again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.first = ""
        self.runs: dict[str, str] = {}
        self.refused = 0
        self.appended = 0
        self.health: list[tuple[float, str]] = []
        self.sequences: list[int] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._repeat, args=given) for given in self._work()]

    def __enter__(self) -> "Going":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> Iterator[tuple[Callable[[int], Any], float]]:
        yield from ((lambda number, who=who: self._submit(f"{who}.{number}"), 0.4) for who in range(2))
        yield self._append, 0.3
        yield self._look, 0.25
        yield self._follow, 0.0

    def _repeat(self, act: Callable[[int], Any], pause: float) -> None:
        number = 0
        while not self._stop.wait(pause):
            act(number)
            number += 1

    def _submit(self, key: str) -> None:
        """As a careful client does: the same key until the answer is there."""
        kind = "predict" if int(key.rpartition(".")[2]) % 5 == 4 else "train"
        body = front.PREDICT if kind == "predict" else front.TRAIN
        while not self._stop.is_set():
            status, answer = self.call("POST", f"/job/{kind}", body | {"model_name": "asked"}, {"Idempotency-Key": key})
            if status == 202:
                self.runs[key] = answer["id"]
                return
            if status not in (0, 409, 503):
                raise RuntimeError(f"POST /job/{kind}: {status} {answer}")
            self.refused += 1
            time.sleep(0.5)

    def _append(self, number: int) -> None:
        row = {"time": (datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=number)).isoformat(), "value": number}
        self.appended += self.call("POST", "/datasets/site/rows", [row])[0] == 201

    def _look(self, _: int) -> None:
        asked = time.monotonic()
        status, answer = self.call("GET", "/health/")
        self.health.append((asked, "unanswered" if not status else "down" if status == 503 else answer["status"]))

    def _follow(self, _: int) -> None:
        after = self.sequences[-1] if self.sequences else 0
        status, answer = self.call("GET", f"/events?after_sequence={after}&wait=1")
        if status != 200:
            time.sleep(0.5)
            return
        self.sequences += [event["sequence"] for event in answer["items"]]

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        try:
            answer = HTTP.request(method, self.url + path, json=body, headers=headers)
        except urllib3.exceptions.HTTPError:
            return 0, None
        return answer.status, json.loads(answer.data)


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    report = Report(f"PostgreSQL cut for {seconds:.0f} s, then restarted, while everything goes on")
    with folder() as place, ExitStack() as stack:
        front.hourly().to_parquet(place / "hourly.parquet")
        database = EmbeddedPostgres(home=place / "postgres")
        database.start()
        stack.callback(database.stop)
        proxy = stack.enter_context(Proxy(database.url))
        allowed = {"MLSYS_WEBHOOKS__ALLOWED_HOSTS": "127.0.0.1", "MLSYS_DATABASE__URL": proxy.url}
        with serving(place / "home", models=MODELS, roots=[place], **allowed) as server:
            _live(report, f"http://127.0.0.1:{server.port}", database, proxy, place / "got.jsonl", seconds)
        log = (place / "home.log").read_text()
        report.add("unexpected errors in the server's log", str(log.count("Traceback")), bound="0", ok="Traceback" not in log)
    return report.finish()


def _live(report: Report, url: str, database: EmbeddedPostgres, proxy: Proxy, log: Path, seconds: float) -> None:
    going = Going(url)
    with _prepared(going, log) as webhook, going:
        time.sleep(20)
        first = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        _until_second(MINUTE - BEFORE)
        cut = time.monotonic()
        proxy.cut()
        _say(f"cut, {len(going.runs)} runs so far")
        time.sleep(seconds)
        proxy.mend()
        mended = time.monotonic()
        _say(f"mended, {len(going.runs)} runs so far")
        _until_second(MINUTE - 3)
        _say("PostgreSQL is stopped and started over a full minute")
        database.stop()
        time.sleep(5)
        database.start()
        restarted = time.monotonic()
        _until_second(20)
        last = datetime.now(UTC).replace(second=0, microsecond=0)
        for name in range(SCHEDULES):
            assert going.call("POST", f"/schedules/s{name}/pause")[0] == 200
        going._stop.set()
        engine = sa.create_engine(database.url)
        events = _settled(engine, going, webhook, log)
        _health(report, going.health, cut=cut, mended=mended, restarted=restarted)
        _runs(report, engine, going)
        _firings(report, engine, first, last)
        _events(report, engine, going, events)
        _deliveries(report, log, events)


@contextlib.contextmanager
def _prepared(going: Going, log: Path) -> Iterator[str]:
    """A version in production, schedules, a data set, and a webhook with its receiver; yields the webhook's id."""
    port = free_port()
    asked = {"url": f"http://127.0.0.1:{port}/hook", "events": ["*"]}
    webhook = going.call("POST", "/webhooks", asked)[1]
    going.call("POST", "/datasets", {"name": "site", "timestamp": "time"})
    going.first = going.call("POST", "/job/train", front.TRAIN | {"model_name": "asked"}, {"Prefer": "wait=60"})[1]["id"]
    for number in range(SCHEDULES):
        assert going.call("POST", "/schedules", {"name": f"s{number}", **SCHEDULE})[0] == 201
    receiver = [sys.executable, str(ROOT / "tests" / "acceptance" / "receiver.py"), str(port), webhook["secret"], str(log)]
    with subprocess.Popen(receiver) as process:
        try:
            yield webhook["id"]
        finally:
            process.kill()


def _until_second(second: int) -> None:
    """Of the clock, as cron reads it."""
    time.sleep((second - datetime.now(UTC).timestamp()) % MINUTE)


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


def _settled(engine: sa.Engine, going: Going, webhook: str, log: Path) -> int:
    """Waits until nothing runs, waits or is on its way; the number of events that were committed."""
    deadline = time.monotonic() + 600  # on a machine that others use as well
    unfinished = "SELECT count(*) FROM run_state WHERE status IN ('queued', 'running', 'cancelling')"
    while time.monotonic() < deadline:
        events = _one(engine, "SELECT count(*) FROM events")
        pending = going.call("GET", f"/webhooks/{webhook}")[1]["pending"]
        if not _one(engine, unfinished) and not pending and len(_got(log)) >= events:
            break
        time.sleep(0.5)
    while not going.sequences or going.sequences[-1] < _one(engine, "SELECT max(sequence) FROM event_sequence"):
        going._follow(0)
    return int(_one(engine, "SELECT count(*) FROM events"))


def _health(report: Report, seen: list[tuple[float, str]], *, cut: float, mended: float, restarted: float) -> None:
    during = [told for at, told in seen if cut + SOON < at < mended]
    green = during.count("ok")
    what = "answers of health while the database is cut, of them green"
    report.add(what, f"{len(during)}, {green}", bound="0 green", ok=bool(during) and not green)
    for what, since in (("the cut", mended), ("the restart", restarted)):
        back = next((at - since for at, told in seen if at > since and told == "ok"), None)
        told = "never" if back is None else f"{back:.1f} s"
        report.add(f"health green after {what}", told, bound=f"<= {AGAIN:.0f} s", ok=back is not None and back <= AGAIN)
    report.add("health at the end", seen[-1][1], bound="ok", ok=seen[-1][1] == "ok")


RUNS = "SELECT run_id, status FROM run_state JOIN runs ON id = run_id WHERE trigger ->> 'type' = 'api'"
TWICE = """
SELECT count(*) FROM (
    SELECT FROM run_history WHERE status IN ('succeeded', 'failed', 'cancelled') GROUP BY run_id HAVING count(*) > 1
) AS twice
"""
EFFECTS = """
SELECT count(*) FROM runs r JOIN run_state s ON s.run_id = r.id
WHERE kind = 'train' AND (SELECT count(*) FROM model_versions v WHERE v.run_id = r.id) <> CASE s.status WHEN 'succeeded' THEN 1 ELSE 0 END
"""
FIRINGS = """
SELECT trigger ->> 'schedule', CAST(trigger ->> 'fire_time' AS timestamptz), status FROM runs JOIN run_state ON run_id = id
WHERE trigger ->> 'type' = 'schedule'
"""
SILENT = """
SELECT count(*) FROM run_history h WHERE status <> 'cancelling' AND NOT EXISTS (
    SELECT FROM events e WHERE e.data ->> 'run_id' = h.run_id AND e.data ->> 'attempt' = CAST(h.attempt AS text)
        AND e.type = 'run.' || CASE h.status WHEN 'running' THEN 'started' ELSE h.status END
)
"""


def _runs(report: Report, engine: sa.Engine, going: Going) -> None:
    status = dict(_all(engine, RUNS))
    del status[going.first]
    lost, twice = going.runs.values() - status.keys(), len(status) - len(going.runs)
    what = f"runs submitted (refused and asked for again {going.refused} times): lost, made twice"
    report.add(what, f"{len(going.runs)}: {len(lost)}, {twice}", bound="0, 0", ok=not lost and not twice)
    report.add("how they ended", _counted(status.values()), bound="all succeeded", ok=set(status.values()) == {"succeeded"})
    for what, statement in (("runs that ended more than once", TWICE), ("trainings without exactly one version", EFFECTS)):
        found = _one(engine, statement)
        report.add(what, str(found), bound="0", ok=found == 0)
    report.add("runs that took a second attempt", str(_one(engine, "SELECT count(*) FROM run_state WHERE attempt > 1")))


def _firings(report: Report, engine: sa.Engine, first: datetime, last: datetime) -> None:
    minutes = [first + timedelta(minutes=n) for n in range(int((last - first) / timedelta(minutes=1)) + 1)]
    due = {(f"s{number}", minute) for number in range(SCHEDULES) for minute in minutes}
    rows = _all(engine, FIRINGS)
    found = Counter((name, at) for name, at, _ in rows)
    lost, twice = due - found.keys(), [one for one, count in found.items() if count > 1]
    told = f"{len(due)}: {len(lost)}, {len(twice)}"
    report.add("firings due: lost, fired twice", told, bound="0, 0", ok=not lost and not twice)
    ends = [status for _, _, status in rows]
    report.add("how they ended", _counted(ends), bound="all succeeded", ok=set(ends) == {"succeeded"})


def _counted(ends: Iterable[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(ends).items()))


def _events(report: Report, engine: sa.Engine, going: Going, events: int) -> None:
    whole = going.sequences == list(range(1, events + 1))
    report.add("events committed: seen by the reader, in order, once, no gap", f"{events}: {len(going.sequences)}", bound="all", ok=whole)
    silent = _one(engine, SILENT)
    report.add("changes of runs without their event", str(silent), bound="0", ok=silent == 0)


def _deliveries(report: Report, log: Path, events: int) -> None:
    got = _got(log)
    missing = set(range(1, events + 1)) - got.keys()
    told = f"{len(got)}: {len(missing)}, {sum(got.values()) - len(got)}"
    report.add("events at the receiver, verified: missing, sent again", told, bound="0 missing", ok=not missing)


def _got(log: Path) -> Counter[int]:
    """How often each event has come, verified, under its id."""
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return Counter(line["sequence"] for line in lines if line["ok"] and line["id"] == f"evt_{line['sequence']}")


def _one(engine: sa.Engine, statement: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(sa.text(statement)).scalar_one()


def _all(engine: sa.Engine, statement: str) -> list[Any]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]


if __name__ == "__main__":
    sys.exit(main())
