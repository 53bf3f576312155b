"""Clients that are too slow, on real sockets: those that send or read a byte now and then are cut, steady ones are not."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import serving
from flask import Flask, Response, request

from mlsys.api import server
from mlsys.api.slowness import LEAST_RATE

PATIENCE = 1.0
HUGE = 64 * 2**20  # more than the server and the sockets keep for a client
LATEST = 60.0  # seconds after which a test gives up; a busy machine may take long


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running(PATIENCE) as found:
        yield found


@contextmanager
def running(patience: float) -> Iterator[int]:
    """The port of a server with one thread."""
    app = Flask("small")
    app.add_url_rule("/huge", "huge", lambda: Response(bytes(2**20) for _ in range(HUGE // 2**20)))
    app.add_url_rule("/length", "length", lambda: str(len(request.get_data())), methods=["POST"])
    found = server.bind(app, host="127.0.0.1", port=0, threads=1, max_body_bytes=2**20, max_upload_bytes=2**20, patience_seconds=patience)
    thread = threading.Thread(target=found.run)
    thread.start()
    yield int(found.effective_port)
    serving.until(lambda: not found.active_channels)
    found.task_dispatcher.shutdown()
    found.trigger.pull_trigger(lambda: found.asyncore.close_all(found._map))
    thread.join(10)
    assert not thread.is_alive()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=LATEST)


def is_cut(client: socket.socket, piece: bytes) -> bool:
    """Whether a client is cut that sends this ten times in a window."""
    client.settimeout(PATIENCE / 10)
    ends_at = time.monotonic() + LATEST
    while time.monotonic() < ends_at:
        try:
            client.sendall(piece)
            if client.recv(1000) == b"":
                return True
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /length HTTP/1.1\r\nX: ",
        b"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n",
        b"POST /length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["head", "body", "chunked"],
)
def test_request__that_trickles_in_is_cut(port: int, begun: bytes) -> None:
    with connect(port) as client:
        client.sendall(begun)
        assert is_cut(client, b"1\r\nx\r\n" if b"chunked" in begun else b"x")


def test_connection__that_says_nothing_is_cut(port: int) -> None:
    with connect(port) as client:
        assert is_cut(client, b"")
    with connect(port) as client:
        client.sendall(b"GET /length HTTP/1.1\r\n")
        assert is_cut(client, b"")


def test_answer__that_nobody_takes_frees_its_thread(port: int) -> None:
    """The server has one thread: it would wait for this client for ever."""
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        slow.settimeout(LATEST)
        slow.connect(("127.0.0.1", port))
        slow.sendall(b"GET /huge HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert slow.recv(10)
        stop = threading.Event()
        reader = threading.Thread(target=_sip, args=(slow, stop))
        reader.start()
        try:
            with connect(port) as other:
                other.sendall(b"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
                assert other.recv(1000).startswith(b"HTTP/1.1 200")
        finally:
            stop.set()
            reader.join()


def _sip(client: socket.socket, stop: threading.Event) -> None:
    """Reads a few bytes now and then, so that the connection is never silent."""
    while not stop.wait(PATIENCE / 10):
        try:
            client.recv(10)
        except OSError:
            return


def test_slow_but_steady__clients_are_served_whole() -> None:
    """Over more than one window, which is long here: a busy machine may stop the test itself for a while."""
    pieces, size = 50, 10 * LEAST_RATE
    with running(4 * PATIENCE) as port, connect(port) as sender, connect(port) as reader:
        reader.sendall(b"GET /huge HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        sender.sendall(f"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: {pieces * size}\r\n\r\n".encode())
        got = 0
        for _ in range(pieces):
            sender.sendall(b"x" * size)
            got += len(reader.recv(2**20))
            time.sleep(PATIENCE / 10)
        while part := reader.recv(2**20):
            got += len(part)
        assert got > HUGE
        assert sender.recv(1000).endswith(str(pieces * size).encode())
