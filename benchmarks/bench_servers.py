"""WSGI servers under the same app, side by side in one run: waitress as mlsys uses it, cheroot, gunicorn with threads. Prints one table.

Each serves create_app() with 8 threads on the one database of a running mlsys. What is not installed is named and left out:
``pip install cheroot gunicorn`` into an environment of your own. `bench_servers.py NAME HOME PORT` is one of the servers.
"""

import contextlib
import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench_registry import JOB, SAMPLE
from hammer import Connection
from harness import ROOT, clock, folder, free_port, machine, median, ms, percentile, print_table, serving, tree

THREADS, LARGEST, BODY = 8, 1 << 20, 64 << 20
NAMES = ("waitress", "cheroot", "gunicorn")


def main() -> int:
    present = [name for name in NAMES if importlib.util.find_spec(name)]
    for name in set(NAMES) - set(present):
        print(f"{name} is not installed: left out")
    with folder() as work, serving(work / "home", models={"real": SAMPLE}) as server, contextlib.ExitStack() as stack:
        run = server.client().job("train", JOB)["id"]
        servers = {name: stack.enter_context(_started(name, work / "home")) for name in present}
        lines = [(what, *(measure(*server, f"/runs/{run}") for server in servers.values())) for what, measure in _WHAT.items()]
        print(f"\nWSGI servers, the same app, {THREADS} threads each, GET /runs/{{id}} ({time.strftime('%Y-%m-%d %H:%M')}, {machine()})\n")
        single = _in_turn({name: port for name, (_, port) in servers.items()}, f"/runs/{run}")
        print_table(("what", *servers), [("1 client: p50 / p99", *(single[name] for name in servers)), *lines])
    return 0


@contextlib.contextmanager
def _started(name: str, home: Path) -> Iterator[tuple[int, int]]:
    """(process id, port) of one server, once it answers."""
    port = free_port()
    log = home.with_name(f"{name}.log")
    with log.open("wb") as sink:
        process = subprocess.Popen([sys.executable, __file__, name, str(home), str(port)], cwd=ROOT, stdout=sink, stderr=sink)
    try:
        for _ in range(1000):
            with contextlib.suppress(OSError, RuntimeError):
                Connection(port).get("/runs?limit=1")  # /health/ misses the recovery, which is left to the first process
                break
            time.sleep(0.02)
        else:
            raise RuntimeError(f"{name} did not come up:\n{log.read_text()[-2000:]}")
        yield process.pid, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def _in_turn(ports: dict[str, int], path: str) -> dict[str, str]:
    connections = {name: Connection(port) for name, port in ports.items()}
    found: dict[str, list[float]] = {name: [] for name in ports}
    for _ in range(520):
        for name, connection in connections.items():
            found[name].append(clock(partial(connection.get, path)))
    return {name: f"{ms(median(values[20:]))} / {ms(percentile(values[20:], 0.99))}" for name, values in found.items()}


def _crowd(_pid: int, port: int, path: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / "hammer.py"), str(port), "8", "4", path]
    found = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(3)]
    rate, p50, p99 = (median([each[name] for each in found]) for name in ("rate", "p50", "p99"))
    return f"{rate:.0f}/s, {ms(p50)} / {ms(p99)}"


def _processes(pid: int, _port: int, _path: str) -> str:
    return str(len(tree(pid)))


def _segments(_pid: int, port: int, path: str) -> str:
    """Reads that one answer of some kilobytes takes, and how often it waits for a delayed acknowledgement (40 ms)."""
    connection = Connection(port)
    reads, late = [], 0
    for _ in range(200):
        late += clock(lambda: connection.get(path)) > 0.035
        reads.append(connection.segments)
    return f"{sum(reads) / len(reads):.1f} reads, {late} of {len(reads)} over 35 ms"


def _too_large(_pid: int, port: int, _path: str) -> str:
    """A client that sends a body of 64 MB to its end before it listens."""
    head = f"POST /job/train HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {BODY}\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(head.encode())
            for _ in range(BODY >> 20):
                client.sendall(b" " * (1 << 20))
            response = http.client.HTTPResponse(client)
            response.begin()
            return f"{response.status} arrives"
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {type(error).__name__}"


def _trickle(_pid: int, port: int, path: str) -> str:
    """Eight clients that send their bodies byte by byte; how long a ninth waits."""
    head = b"POST /job/train HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(THREADS)]
        for client in slow:
            client.sendall(head)
        time.sleep(0.5)
        ninth = socket.create_connection(("127.0.0.1", port), timeout=3)
        begin = time.perf_counter()
        ninth.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        try:
            ninth.recv(1)
        except TimeoutError:
            return "blocked: no answer in 3 s"
        finally:
            ninth.close()
        return f"served in {ms(time.perf_counter() - begin)}"


_WHAT: dict[str, Callable[[int, int, str], str]] = {
    "8 clients: rate, p50 / p99": _crowd,
    "processes": _processes,
    "one answer": _segments,
    "body of 64 MB where 1 MB is allowed, client sends all before it reads": _too_large,
    "a 9th client while 8 send their bodies byte by byte": _trickle,
}


def serve(name: str, home: Path, port: int) -> None:
    """One of the servers, on the home's running database, until SIGTERM."""
    from mlsys import bootstrap, config
    from mlsys.api.app import create_app

    settings = config.load(home.with_name(f"{home.name}.yaml"), environ={}, overrides={"home": str(home)})

    def app() -> Any:
        system = bootstrap.build(settings)
        system.start(recover=False)
        return create_app(system.services)

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    _RUN[name](app, port)


def _waitress(app: Callable[[], Any], port: int) -> None:
    from mlsys.api import server

    server.bind(app(), host="127.0.0.1", port=port, threads=THREADS, max_body_bytes=LARGEST, max_upload_bytes=LARGEST).run()


def _cheroot(app: Callable[[], Any], port: int) -> None:
    from cheroot.wsgi import Server

    Server(("127.0.0.1", port), app(), numthreads=THREADS).start()


def _gunicorn(app: Callable[[], Any], port: int) -> None:
    from gunicorn.app.base import BaseApplication

    class Application(BaseApplication):
        def load_config(self) -> None:
            for name, value in {"bind": f"127.0.0.1:{port}", "workers": 1, "threads": THREADS, "worker_class": "gthread"}.items():
                self.cfg.set(name, value)

        def load(self) -> Any:
            return app()

    Application().run()


_RUN = {"waitress": _waitress, "cheroot": _cheroot, "gunicorn": _gunicorn}

if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(main())
    serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
