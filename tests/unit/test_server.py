"""The server by itself, under a small application: how answers travel, and that its loop has nothing to do with those that fit."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO

import pytest
import serving
from flask import Flask, Response

from mlsys.api import server

PIECE = bytes(range(256)) * 2048  # half a megabyte
PIECES = 60  # more than waitress keeps before it makes the answering thread wait
CLIENTS, CALLS = 8, 25


@dataclass
class Bound:
    """A running server. ``loop``: an entry for each time that its loop was told of something to send."""

    port: int
    loop: list[int] = field(default_factory=list)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@pytest.fixture(scope="module")
def bound() -> Iterator[Bound]:
    app = Flask("small")
    for path, answer in {
        "/small": lambda: Response(b"x" * 3000),
        "/nothing": lambda: Response(status=204),
        "/large": lambda: Response(PIECE * PIECES),
        "/stream": lambda: Response(PIECE for _ in range(PIECES)),
    }.items():
        app.add_url_rule(path, path, answer)
    found = server.bind(app, host="127.0.0.1", port=0, threads=CLIENTS, max_body_bytes=1000, max_upload_bytes=1000)
    told = Bound(int(found.effective_port))

    class Counting(found.channel_class):  # type: ignore[misc, name-defined]
        def handle_write(self) -> None:
            told.loop.append(1)
            super().handle_write()

    found.channel_class = Counting
    thread = threading.Thread(target=found.run)
    thread.start()
    yield told
    serving.until(lambda: not found.active_channels)  # those that left are let go
    found.task_dispatcher.shutdown()
    found.trigger.pull_trigger(lambda: found.asyncore.close_all(found._map))  # a loop without sockets ends
    thread.join(10)
    assert not thread.is_alive()


def ask(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def test_answer__comes_in_one_segment(bound: Bound) -> None:
    with bound.connect() as client:
        for _ in range(CALLS):
            client.sendall(ask("/small"))
            head, _, body = client.recv(1 << 16).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert body == b"x" * 3000


def test_loop__is_not_woken_for_answers_that_the_sockets_take(bound: Bound) -> None:
    bound.loop.clear()

    def work() -> None:
        with bound.connect() as client:
            for _ in range(CALLS):
                client.sendall(ask("/small"))
                assert len(client.recv(1 << 16)) > 3000

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bound.loop == []


@pytest.mark.parametrize(("path", "method"), [("/nothing", "GET"), ("/small", "HEAD")])
def test_answer__without_a_body_has_its_head(bound: Bound, path: str, method: str) -> None:
    with bound.connect() as client:
        client.sendall(ask(path, method))
        head, _, rest = client.recv(1 << 16).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 204" if path == "/nothing" else b"HTTP/1.1 200")
        assert rest == b""


@pytest.mark.parametrize("path", ["/large", "/stream"])
def test_answers__reach_a_client_that_reads_late_whole_and_in_order(bound: Bound, path: str) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        client.settimeout(30)
        client.connect(("127.0.0.1", bound.port))
        client.sendall(ask("/small") + ask("/small", "HEAD") + ask(path))
        time.sleep(0.2)  # until the socket is full
        with client.makefile("rb") as file:
            assert _answer(file) == b"x" * 3000
            assert _answer(file, "HEAD") == b""
            assert _answer(file) == PIECE * PIECES


def _answer(file: BinaryIO, method: str = "GET") -> bytes:
    """The next body of a connection. http.client would read ahead, into the answer after it."""
    head = b"".join(iter(file.readline, b"\r\n")).lower()
    assert head.startswith(b"http/1.1 200")
    if b"transfer-encoding: chunked" in head:
        return b"".join(iter(partial(_chunk, file), b""))
    length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
    return b"" if method == "HEAD" else file.read(length)


def _chunk(file: BinaryIO) -> bytes:
    data = file.read(int(file.readline(), 16))
    file.readline()
    return data


def test_answer__to_a_client_that_left_harms_nobody(bound: Bound) -> None:
    for path in ("/large", "/stream") * CLIENTS:
        with bound.connect() as client:
            client.sendall(ask(path))
    with bound.connect() as client:
        client.sendall(ask("/small"))
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
