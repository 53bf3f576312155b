"""What the benchmarks share: a real server on a temporary home, keep-alive clients, medians, and the one table they all print.

A benchmark exits with 1 when a bound is missed, so that it can stand in a gate. Nothing is measured in here.
"""

import contextlib
import http.client
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOLAR = ROOT.parent / "shared" / "data" / "solar-dataset.pq"
IDLE = 20  # seconds; the server closes a connection that rests for 30, and a floor may take as long on a busy machine
HEADERS = ("what", "mlsys", "floor/peer", "ratio", "bound", "ok")


@dataclass(kw_only=True)
class Server:
    """A running ``mlsys serve``. ``started``: seconds from the command to the first healthy answer."""

    process: subprocess.Popen[bytes]
    port: int
    home: Path
    started: float

    def client(self) -> "Client":
        return Client(self.port)

    def processes(self) -> list[int]:
        """The server and all that it started."""
        return tree(self.process.pid)


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.last = 0.0

    def get(self, path: str) -> bytes:
        return self.call("GET", path)

    def job(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Runs a job to its end and returns the run. Raises RuntimeError when it did not succeed."""
        headers = {"Content-Type": "application/json", "Prefer": "wait=60"}
        run: dict[str, Any] = json.loads(self.call("POST", f"/job/{kind}", json.dumps(body), headers))
        if run["status"] != "succeeded":
            raise RuntimeError(f"{kind} ended as {run['status']}: {run['error']}")
        return run

    def call(self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None) -> bytes:
        if time.monotonic() - self.last > IDLE:
            self.connection.close()  # the next request opens another
        self.connection.request(method, path, body, dict(headers or {}))
        response = self.connection.getresponse()
        data = response.read()
        self.last = time.monotonic()
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {data[:300]!r}")
        return data


@dataclass
class Report:
    """Rows of the table; ``bound`` is an upper limit on the measured value or on the ratio, told as text by the caller."""

    title: str
    rows: list[tuple[str, ...]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def add(self, what: str, mine: str, peer: str = "", ratio: float | None = None, bound: str = "", ok: bool | None = None) -> None:
        self.rows.append((what, mine, peer, "" if ratio is None else f"{ratio:.2f}", bound, "" if ok is None else "yes" if ok else "NO"))
        if ok is False:
            self.missed.append(what)

    def finish(self) -> int:
        """Prints the table; 1 when a bound was missed, else 0."""
        print(f"\n{self.title} ({time.strftime('%Y-%m-%d %H:%M')}, {machine()})\n")
        print_table(HEADERS, self.rows)
        if self.missed:
            print(f"\nmissed: {'; '.join(self.missed)}")
        return 1 if self.missed else 0


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """As markdown, so that it can be kept in results/ as it is."""
    widths = [max(len(row[i]) for row in [headers, *rows]) for i in range(len(headers))]
    for row in (headers, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |", flush=True)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder. A benchmark that is told to stop leaves nothing behind, no server and no folder."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="mlsys-bench-") as name:
        yield Path(name)


@contextlib.contextmanager
def serving(home: Path, *, models: Mapping[str, Any] | None = None, roots: Sequence[Path] = (), **environment: str) -> Iterator[Server]:
    """``mlsys serve`` on a free port, stopped by SIGTERM at the end. Raises RuntimeError with its log when it does not come up."""
    home.mkdir(exist_ok=True)
    settings = home.with_name(f"{home.name}.yaml")
    settings.write_text(json.dumps({"data": {"roots": [str(root) for root in roots]}, "models": dict(models or {})}))  # JSON is YAML
    port = free_port()
    command = [sys.executable, "-m", "mlsys", "serve", "--config", str(settings), "--home", str(home), "--port", str(port)]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MLSYS_")} | environment
    with (home.with_name(f"{home.name}.log")).open("ab") as log:
        begin = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=log, stderr=log)
    try:
        _healthy(port, process, Path(log.name))
        yield Server(process=process, port=port, home=home, started=time.perf_counter() - begin)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def _healthy(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(3000):
        with contextlib.suppress(OSError, RuntimeError, http.client.HTTPException):
            if json.loads(Client(port).get("/health/"))["status"] == "ok":
                return
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise RuntimeError(f"mlsys serve did not come up:\n{log.read_text()[-2000:]}")


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tree(pid: int) -> list[int]:
    """A process and its descendants. Raises OSError where there is no /proc."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found


def clock(call: Callable[[], Any]) -> float:
    """Seconds that one call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def alternate(calls: Mapping[str, Callable[[], Any]], *, times: int, warm: int = 1) -> dict[str, list[float]]:
    """Seconds of each call, taken in turn, so that whatever else the machine does falls on all of them alike."""
    for call in calls.values():
        for _ in range(warm):
            call()
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(times):
        for name, call in calls.items():
            found[name].append(clock(call))
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; ``share`` from 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def machine() -> str:
    model = next((line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"


def _cpuinfo() -> list[str]:
    with contextlib.suppress(OSError):
        return Path("/proc/cpuinfo").read_text().splitlines()
    return []
