"""What event sinks talk to, for real: a Redis server, a PostgreSQL with a listener, a mail server, a chat server; one sample each."""

import json
import re
import select
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import front
import hooking
import psycopg2
import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller
from publishing import running
from receivers import Received, receiving
from serving import free_port, until

from mlsys.events.sinks import EventSink, SinkPorts
from mlsys.publishing import building
from mlsys.registry.unit_of_work import Units
from mlsys.storage.database import make_engine
from mlsys.system import System
from mlsys.webhooks.outbound import Outbound


@dataclass(frozen=True, kw_only=True)
class Line:
    """A running process that appends events (``units``) and sends them. ``behind``: how many the other side has not been noted to have."""

    units: Units
    behind: Callable[[], int]
    stop: Callable[[], None]


@contextmanager
def by_relay(sample: "Sample", url: str) -> Iterator[Line]:
    """As events reach a sink of config.yaml."""
    engine = make_engine(url, pool_size=3, statement_timeout_seconds=30)
    with running(url, {"plant": build(sample.spec, engine)}) as node:
        yield Line(units=node.units, behind=lambda: int(node.publisher.health()["sinks"]["plant"]["behind"]), stop=node.publisher.stop)
    engine.dispose()


@dataclass(kw_only=True)
class Sample:
    """``read``: sequences of the events that arrived, in the order of arrival. ``down`` and ``up``: the other side goes and comes back.

    ``forget``: SQL that takes back the note that events after the first were sent. ``ordered``: whether they come in order.
    """

    spec: Mapping[str, Any]
    read: Callable[[], list[int]]
    down: Callable[[], None] = lambda: None
    up: Callable[[], None] = lambda: None
    forget: str = "UPDATE event_cursors SET sequence = 1"
    ordered: bool = True
    line: Callable[["Sample", str], AbstractContextManager[Line]] = by_relay

    def running(self, url: str) -> AbstractContextManager[Line]:
        return self.line(self, url)

    def arrived(self) -> list[int]:
        """Each event once, as it came first."""
        first = list(dict.fromkeys(self.read()))
        return first if self.ordered else sorted(first)


BASE = "http://mlsys.example:5000"


def build(spec: Mapping[str, Any], engine: sa.Engine, name: str = "plant") -> EventSink:
    outbound = Outbound(allowed_hosts=["127.0.0.1"])
    ports = SinkPorts(engine=engine, post=lambda url, body, headers: outbound.post(url, body, headers).status, base_url=BASE)
    return building.build_all(EventSink, {name: spec}, ports=ports, section="events.sinks")[name]  # type: ignore[type-abstract]


# -- what the sinks talk to


class RedisServer:
    """Debian's redis-server with its data in a folder, each write on disk before it is answered."""

    def __init__(self, folder: Path) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.skip("no redis-server (Debian package: redis-server)")
        self.port = free_port()
        self._words = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        self._words += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self._process: subprocess.Popen[bytes] | None = None
        self.up()

    def up(self) -> None:
        self._process = subprocess.Popen(self._words, stdout=subprocess.DEVNULL)
        until(self._answers)

    def down(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)

    def client(self) -> Any:
        import redis

        return redis.Redis(port=self.port)

    def _answers(self) -> bool:
        import redis

        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


def read_stream(server: RedisServer, stream: str) -> list[int]:
    with server.client() as client:
        entries = client.xrange(stream)
    for id, fields in entries:
        assert id == fields[b"sequence"] + b"-0"
        assert json.loads(fields[b"data"])["name"]
    return [int(fields[b"sequence"]) for _, fields in entries]


class Listening:
    """A connection that listens, as a user's program would."""

    def __init__(self, url: str, channel: str) -> None:
        parsed = sa.make_url(url)
        self._connection = psycopg2.connect(parsed.set(drivername="postgresql").render_as_string(hide_password=False))
        self._connection.autocommit = True
        self._connection.cursor().execute(f"LISTEN {channel}")
        self.payloads: list[Any] = []

    def read(self) -> list[int]:
        while select.select([self._connection], [], [], 0)[0]:
            self._connection.poll()
            if not self._connection.notifies:
                break
            self.payloads += [json.loads(note.payload) for note in self._connection.notifies]
            self._connection.notifies.clear()
        return [payload["sequence"] for payload in self.payloads]

    def close(self) -> None:
        self._connection.close()


@dataclass
class Mailbox:
    """A mail server, and what it took."""

    port: int = field(default_factory=free_port)
    letters: list[Any] = field(default_factory=list)
    refusing: bool = False

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        if self.refusing:
            return "451 try again later"
        self.letters.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"

    def refuse(self, yes: bool) -> None:
        self.refusing = yes

    def texts(self) -> list[str]:
        return [letter.get_content() for letter in self.letters]


@contextmanager
def mail_server(**options: Any) -> Iterator[Mailbox]:
    """``options``: those of aiosmtpd's SMTP."""
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=box.port, **options)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


def told(texts: list[str]) -> list[int]:
    """The sequences that messages name, and those that a long one only counts: "and 3 more: .. after_sequence=20"."""
    found: list[int] = []
    for text in texts:
        found += map(int, re.findall(r", event (\d+) of ", text))
        for more, after in re.findall(r"and (\d+) more: \S+ \S+after_sequence=(\d+)", text):
            found += range(int(after) + 1, int(after) + int(more) + 1)
    return found


@dataclass
class Chat:
    url: str = ""
    texts: list[str] = field(default_factory=list)
    refusing: bool = False

    def refuse(self, yes: bool) -> None:
        self.refusing = yes


@contextmanager
def chat_server() -> Iterator[Chat]:
    """Takes what Slack's incoming webhooks take."""
    chat = Chat()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.headers["Content-Type"] == "application/json"
            if not chat.refusing:
                chat.texts.append(body["text"])
            self.send_response(500 if chat.refusing else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    chat.url = f"http://127.0.0.1:{server.server_port}/hooks/secret"
    try:
        yield chat
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# -- samples


@contextmanager
def _redis(folder: Path, url: str) -> Iterator[Sample]:
    server = RedisServer(folder)
    spec = {"type": "redis", "url": f"redis://127.0.0.1:{server.port}/0", "stream": "plant"}
    try:
        yield Sample(spec=spec, read=partial(read_stream, server, "plant"), down=server.down, up=server.up)
    finally:
        server.down()


@contextmanager
def _postgres_notify(folder: Path, url: str) -> Iterator[Sample]:
    listening = Listening(url, "plant")
    yield Sample(spec={"type": "postgres_notify", "channel": "plant"}, read=listening.read)
    listening.close()


@contextmanager
def _email(folder: Path, url: str) -> Iterator[Sample]:
    with mail_server() as box:
        spec = {"type": "email", "host": "127.0.0.1", "port": box.port, "security": "none", "events": ["*"]}
        spec |= {"sender": "mlsys@example.org", "recipients": ["ops@example.org"]}
        yield Sample(spec=spec, read=lambda: told(box.texts()), down=partial(box.refuse, True), up=partial(box.refuse, False))


@contextmanager
def _slack(folder: Path, url: str) -> Iterator[Sample]:
    with chat_server() as chat:
        spec = {"type": "slack", "url": chat.url, "events": ["*"]}
        yield Sample(spec=spec, read=lambda: told(chat.texts), down=partial(chat.refuse, True), up=partial(chat.refuse, False))


@contextmanager
def _webhooks(folder: Path, url: str) -> Iterator[Sample]:
    """The default: a subscriber of everything, made through the front by the first process; each event has a request of its own."""
    taken: list[int] = []
    refusing = threading.Event()

    def answer(one: Received) -> int:
        if refusing.is_set():
            return 503
        taken.append(one.event["sequence"])
        return 204

    @contextmanager
    def line(sample: Sample, url: str) -> Iterator[Line]:
        given = {"database.url": url, "webhooks.retry_schedule": [0.2] * 100, **hooking.ALLOWED}
        system = front.unstarted(folder, **given)
        system.start()
        try:
            client = front.app_of(system).test_client()
            if not client.get("/webhooks").json["items"]:  # type: ignore[index]
                hooking.subscribe(client, sample.spec["url"])
            yield Line(units=system.services.units, behind=lambda: _undelivered(system.engine), stop=partial(_stop, system))
        finally:
            system.stop()

    with receiving(answer) as receiver:
        sample = Sample(spec={"url": receiver.url}, read=lambda: list(taken), line=line, ordered=False, forget=_UNNOTED)
        sample.down, sample.up = refusing.set, refusing.clear
        yield sample


# claimed by a process that is gone, and not noted
_UNNOTED = "UPDATE deliveries SET state = 'pending', owner = 1, next_attempt_at = created_at, finished_at = NULL WHERE sequence > 1"
_UNDELIVERED = sa.text("SELECT (SELECT count(*) FROM events) - (SELECT count(*) FROM deliveries WHERE state = 'delivered')")


def _undelivered(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(_UNDELIVERED).scalar_one())


def _stop(system: System) -> None:
    system.dispatcher.stop()
    system.publisher.stop()


SAMPLES = {"webhooks": _webhooks, "redis": _redis, "postgres_notify": _postgres_notify, "email": _email, "slack": _slack}
