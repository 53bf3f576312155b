"""The server under attack, and everything that would show that an attack got somewhere: its tables, files, connections, log and life."""

import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import serving
import sqlalchemy as sa

from mlsys.storage.database import make_engine
from security.watching import Canary

Header = str | bytes | None
ENDED = ("succeeded", "failed", "crashed", "cancelled")
HERE = Path(__file__).parent
IDLE = {"processes", "leadership", "alembic_version", "token_uses"}
"""Tables that change by themselves."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    method: str
    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def text(self) -> str:
        return self.data.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def problem(self) -> dict[str, Any]:
        """Empty where it is none."""
        return self.json if self.headers.get("content-type") == "application/problem+json" and self.data else {}


@dataclass(kw_only=True)
class Target:
    """``data``: its data root; ``outside``: a folder beside it that nothing may touch; ``known``: ids that rows name as $NAME."""

    served: serving.Served
    engine: sa.Engine
    data: Path
    outside: Path
    journal: Path
    names: Path
    canary: Canary
    known: dict[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return int(self.served.url.rpartition(":")[2])

    @cached_property
    def tables(self) -> list[str]:
        return [name for name in sa.inspect(self.engine).get_table_names() if name not in IDLE]

    @property
    def alive(self) -> bool:
        return self.served.process.poll() is None

    def filled(self, value: Any) -> Any:
        """The same with $NAME replaced by what is known only now, in every text."""
        if isinstance(value, str):
            return re.sub(r"\$([A-Z_]+)", lambda found: self.known.get(found[1], found[0]), value)
        if isinstance(value, dict):
            return {self.filled(key): self.filled(inner) for key, inner in value.items()}
        return [self.filled(inner) for inner in value] if isinstance(value, list) else value

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    @property
    def usual(self) -> dict[str, str]:
        """Headers of an honest client."""
        authorization = {"Authorization": f"Bearer {self.known['ADMIN']}"} if "ADMIN" in self.known else {}
        return {"Host": f"127.0.0.1:{self.port}", "Connection": "close", **authorization}

    def send(self, method: str, path: str | bytes, body: bytes | None = None, headers: Mapping[str, Header] | None = None) -> Answer:
        """One request, written by hand, so that nothing is made tidy on the way. A header that is None is left out."""
        given = {name: value for name, value in {**self.usual, **(headers or {})}.items() if value is not None}
        if body is not None and "Transfer-Encoding" not in given:
            given.setdefault("Content-Length", str(len(body)))
        line = b"%b %b HTTP/1.1\r\n" % (method.encode(), _bytes(path))
        head = line + b"".join(b"%b: %b\r\n" % (name.encode(), _bytes(value)) for name, value in given.items()) + b"\r\n"
        with closing(self.connect()) as sock:
            sock.sendall(head + (body or b""))
            return answer(sock, method)

    def ask(self, method: str, path: str, body: Any = None, **headers: Header) -> Answer:
        """JSON, as an honest client sends it."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None:
            return self.send(method, path, headers=given)
        return self.send(method, path, json.dumps(body).encode(), {"Content-Type": "application/json", **given})

    def ended(self, id: str) -> Any:
        """The run, once it has."""
        return serving.until(lambda: run if (run := self.ask("GET", f"/runs/{id}").json)["status"] in ENDED else None, 90)

    def state(self) -> dict[str, str]:
        """A digest of each table, once what happened before has come to rest."""
        serving.until(lambda: not self.scalar("SELECT EXISTS (SELECT 1 FROM event_queue)"))
        digests = [f"SELECT '{name}', md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {name} t" for name in self.tables]
        with self.engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(sa.text(" UNION ALL ".join(digests)))}

    def mark(self) -> "Mark":
        self.canary.touched()
        return Mark(journal=self.journal.stat().st_size, log=self.served.log.stat().st_size)

    def noted(self, mark: "Mark") -> list[list[str]]:
        """What the process itself did since then, as [event, argument, ..]."""
        return [json.loads(line) for line in _since(self.journal, mark.journal).splitlines()]

    def logged(self, mark: "Mark") -> str:
        return _since(self.served.log, mark.log).decode()

    def scalar(self, statement: str) -> Any:
        with self.engine.connect() as connection:
            return connection.scalar(sa.text(statement))


@dataclass(frozen=True, kw_only=True)
class Mark:
    journal: int
    log: int


def answer(sock: socket.socket, method: str = "GET") -> Answer:
    """What comes back on a connection."""
    with closing(http.client.HTTPResponse(sock, method=method)) as response:
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(method=method, status=response.status, headers=headers, data=response.read())


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _since(file: Path, position: int) -> bytes:
    with file.open("rb") as opened:
        opened.seek(position)
        return opened.read()


@contextmanager
def serve(folder: Path, url: str, **environment: str) -> Iterator[Target]:
    """An audited ``mlsys serve`` on a database of its own, at debug level; folder holds config.yaml, data and outside."""
    log, journal, names, home = (folder / name for name in ("server.log", "journal", "names.json", "home"))
    names.write_text("{}")
    words = [sys.executable, str(HERE / "audited.py"), str(journal), str(names), "serve", "--home", str(home), "--port", "0"]
    given = serving.environment(folder / "data", MLSYS_DATABASE__URL=url, MLSYS_LOGGING__LEVEL="debug", **environment)
    with log.open("wb") as file:
        process = subprocess.Popen([*words, "--config", str(folder / "config.yaml")], stderr=file, stdout=file, env=given, cwd=folder)
    engine = make_engine(url, pool_size=1, statement_timeout_seconds=30)
    try:
        found = serving.until(lambda: re.search(r"mlsys serves at ([^\s\"]+)", log.read_text()) or process.poll() is not None, 60)
        assert found is not True, log.read_text()
        served = serving.Served(process=process, url=found[1], home=home, log=log)
        with Canary(folder / "outside") as canary:
            places: dict[str, Any] = {"data": folder / "data", "outside": folder / "outside", "journal": journal, "names": names}
            yield Target(served=served, engine=engine, canary=canary, **places)
    finally:
        process.kill()
        process.wait(20)
        engine.dispose()
