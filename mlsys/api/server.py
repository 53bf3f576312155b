"""The WSGI server (waitress: one process, slow clients buffered, answers in one segment), and how it treats bodies that are too large."""

import contextlib
import http
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from flask import Flask
from waitress.buffers import OverflowableBuffer
from waitress.parser import HTTPRequestParser
from waitress.server import BaseWSGIServer, create_server
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from mlsys import errors
from mlsys.api import problems
from mlsys.api.headers import SAFE
from mlsys.api.slowness import PacedChannel

_SILENT_MILLISECONDS = 60_000
_FORWARDED = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
_DRAINED = 16 * 2**30  # past this a connection is cut instead of read to its end


class _Counted(OverflowableBuffer):
    """Keeps a body up to ``limit`` bytes; of a larger one only its length, so that it costs neither memory nor disk."""

    def __init__(self, overflow: int, limit: int) -> None:
        super().__init__(overflow)
        self.buf: Any = None
        self._limit = limit
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, data: bytes) -> None:
        self._length += len(data)
        if self._length <= self._limit:
            super().append(data)
        elif self.buf is not None:
            self.close()
            self.buf = None


_ROWS = re.compile(r"/datasets/[^/]+/rows/?")


def _parser(limit: int, upload_limit: int) -> type[HTTPRequestParser]:
    class Parser(HTTPRequestParser):
        """Reads a body that is too large to its end, so that the 413 reaches a client that only listens once it has sent all."""

        def parse_header(self, header_plus: bytes) -> None:
            super().parse_header(header_plus)
            if self.body_rcv is not None:
                rows = self.command == "POST" and _ROWS.fullmatch(self.path)
                self.body_rcv.buf = _Counted(self.adj.inbuf_overflow, upload_limit if rows else limit)

    return Parser


class _ErrorTask(ErrorTask):
    """Answers what waitress refuses by itself (a broken request line, headers too long) in the one shape of all errors."""

    def execute(self) -> None:
        error = self.request.error
        body = problems.body(error.code, f"{error.reason}: the request cannot be read as HTTP.", request_id=secrets.token_hex(8))
        self.status = f"{error.code} {http.HTTPStatus(error.code).phrase}"
        self.response_headers += [("Content-Type", problems.CONTENT_TYPE), *SAFE.items()]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Task(WSGITask):
    """Head and body of an answer in one segment: a second one costs both sides a system call and a wake-up."""

    def write(self, data: bytes) -> None:
        if self.wrote_header:
            super().write(data)
        else:
            with self.channel.gathered():
                super().write(data)


class _Channel(PacedChannel):
    """Sends an answer from its own thread, and leaves to the loop only what the socket did not take.

    waitress queues all of it first. The loop then sees something to send to a socket that is ready, cannot have the lock that the answering
    thread holds, and asks again at once, ten times for each answer of eight clients: for the interpreter that this very thread waits for.
    """

    task_class = _Task
    error_task_class = _ErrorTask
    _held: list[bytes] | None = None

    @contextmanager
    def gathered(self) -> Iterator[None]:
        held: list[bytes] = []
        self._held = held
        try:
            yield
        finally:
            self._held = None
        self.write_soon(b"".join(held))

    def write_soon(self, data: Any) -> int:
        """Takes bytes, or a file to send; returns its length. Raises ClientDisconnected."""
        if self._held is not None:
            self._held.append(data)
            return len(data)
        sent = self._send_now(data) if isinstance(data, bytes) else 0
        if sent < len(data):
            super().write_soon(data[sent:] if sent else data)
        return len(data)

    def _send_now(self, data: bytes) -> int:
        """How many bytes of it the socket took; none while earlier ones wait."""
        with self.outbuf_lock:
            if self.total_outbufs_len or not self.connected:
                return 0
            sent, _ = self._flush_exception(partial(self.send, data), do_close=False)
            return int(sent)


def _follows(request: HTTPRequestParser) -> bool:
    """Whether it may wait long for events, by its path alone: what the application then makes of it is its own matter."""
    return request.error is None and request.path.rstrip("/") in ("/events", "/events/stream")


class _Dispatcher(ThreadedTaskDispatcher):
    """Gives each request for events a thread of its own, so that readers who follow the log never take those of the others.

    How many may wait is limited by the application (server.max_followers), which answers one too many at once. ``farewell`` lets them go.
    """

    def __init__(self, farewell: Callable[[], None]) -> None:
        super().__init__()
        self._farewell = farewell
        self._followers: set[threading.Thread] = set()

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """Before the sockets are closed: those who are still answered would fail on them."""
        self._farewell()
        deadline = time.monotonic() + timeout
        for thread in list(self._followers):
            thread.join(max(0.0, deadline - time.monotonic()))
        return bool(super().shutdown(cancel_pending, timeout))

    def add_task(self, task: Any) -> None:
        if not _follows(task.requests[0]):
            super().add_task(task)
            return
        with contextlib.suppress(OSError):  # a reader who is gone without a word, or takes nothing any more, is cut off
            task.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_MILLISECONDS)
        thread = threading.Thread(target=self._follow, args=(task,), name="follower", daemon=True)
        self._followers.add(thread)
        thread.start()

    def _follow(self, task: Any) -> None:
        try:
            task.service()
        finally:
            self._followers.discard(threading.current_thread())


def bind(
    app: Flask,
    *,
    host: str,
    port: int,
    threads: int,
    max_body_bytes: int,
    max_upload_bytes: int,
    trusted_proxy: str = "",
    patience_seconds: float = 30,
    farewell: Callable[[], None] = lambda: None,
) -> BaseWSGIServer:
    """A server that holds its port but does not answer before run(). Raises Conflict when the port is taken.

    ``trusted_proxy``: address whose X-Forwarded headers are believed. ``patience_seconds``: how long a client may be silent, or too slow.
    ``farewell`` is called when it is to stop: readers who wait for events are let go by it.
    """
    channel = type("Channel", (_Channel,), {"parser_class": _parser(max_body_bytes, max_upload_bytes)})
    dispatcher = _Dispatcher(farewell)
    dispatcher.set_thread_count(threads)
    try:
        server = create_server(
            app,
            _dispatcher=dispatcher,
            host=host,
            port=port,
            max_request_body_size=max(_DRAINED, 2 * max_upload_bytes),
            channel_timeout=patience_seconds,
            cleanup_interval=patience_seconds / 6,
            connection_limit=1000,
            asyncore_use_poll=True,  # select() cannot watch that many
            ident="mlsys",
            clear_untrusted_proxy_headers=False,  # believed they are not, but they tell that somebody speaks for others (callers.py)
            **({"trusted_proxy": trusted_proxy, "trusted_proxy_headers": _FORWARDED} if trusted_proxy else {}),
            expose_tracebacks=False,
        )
    except OSError as error:
        raise errors.Conflict(
            f"Cannot listen on {host}:{port} ({error.strerror}). Stop what listens there, or choose another with --port."
        ) from None
    for each in _sockets(server):
        each.channel_class = channel
        each.maintenance = partial(_cut_off, each, patience_seconds)
    return server


def _sockets(server: Any) -> list[Any]:
    """One for each address that the host's name has."""
    return [each for each in getattr(server, "map", {}).values() if isinstance(each, BaseWSGIServer)] or [server]


def _cut_off(server: Any, patience: float, now: float) -> None:
    """Closes connections on which nothing happens, or too little.

    At once: to be closed by the loop (``will_close``) a socket must be writable, and that of a client who reads nothing never is.
    """
    for channel in list(server.active_channels.values()):
        silent = not channel.requests and channel.last_activity < now - patience
        if silent or channel.is_slow(now, patience=patience):
            channel.handle_close()
