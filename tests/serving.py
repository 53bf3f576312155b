"""mlsys as its users run it: the command line and the server, as real processes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

REPOSITORY = Path(__file__).parents[1]
HEAD = max(path.name[:3] for path in (REPOSITORY / "migrations" / "versions").glob("[0-9]*.py"))
"""The newest revision."""
HTTP = urllib3.PoolManager(retries=False, timeout=90)


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(kw_only=True)
class Served:
    """A running ``mlsys serve``; its standard error is collected in ``log``."""

    process: "subprocess.Popen[bytes]"
    url: str
    home: Path
    log: Path

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        answer = HTTP.request(method, self.url + path, json=body, headers=headers)
        return Answer(status=answer.status, body=json.loads(answer.data), headers=answer.headers)

    def run(self, path: str, body: Any) -> Any:
        """Start work and wait for its end."""
        answer = self.call("POST", path, body, Prefer="wait=60")
        assert answer.status in (200, 202), answer.body
        return self.ended(answer.body["id"])

    def ended(self, id: str, seconds: float = 90) -> Any:
        return until(lambda: self._if_ended(id), seconds)

    def _if_ended(self, id: str) -> Any:
        run = self.call("GET", f"/runs/{id}").body
        return run if run["status"] in ("succeeded", "failed", "crashed", "cancelled") else None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)


def environment(data: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLSYS_")}
    return (
        kept
        | {
            "MLSYS_DATA__ROOTS": str(data),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH")))),
            "PYTHONWARNINGS": "default",
        }
        | more
    )


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "mlsys", *map(str, words)]


@contextmanager
def serve(home: Path, *, config: Path, data: Path, host: str = "127.0.0.1", **more: str) -> Iterator[Served]:
    """A server on a free port, killed at the end if it still runs."""
    log = home.parent / f"{home.name}-{time.monotonic_ns()}.log"
    words = command("serve", "--home", home, "--config", config, "--port", "0", "--host", host)
    with log.open("wb") as file:
        process = subprocess.Popen(words, stderr=file, stdout=file, env=environment(data, **more), cwd=home.parent)
    try:
        found = until(lambda: re.search(r"mlsys serves at (\S+)", log.read_text()) or (process.poll() is not None and "over"), 60)
        assert found != "over", log.read_text()
        yield Served(process=process, url=found[1], home=home, log=log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(20)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(found: Callable[[], Any], seconds: float = 30) -> Any:
    """What ``found`` gives once it gives something."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.05)
    return value


def postgres_of(home: Path) -> list[int]:
    """Processes that stand in a folder of this home: its database server and that one's children."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _stands_in(pid, home)]


def _stands_in(pid: int, home: Path) -> bool:
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(home)
    except OSError:
        return False


def cli(*words: str | Path, home: Path, config: Path, data: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    """One command, run to its end."""
    given = command(*words, "--home", home, "--config", config)
    return subprocess.run(given, capture_output=True, text=True, env=environment(data, **more), cwd=home.parent, timeout=120, check=False)
