"""The WSGI server (waitress: one process, slow clients buffered, answers in one segment), and how it treats bodies that are too large."""

import http
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from flask import Flask
from waitress.buffers import OverflowableBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import BaseWSGIServer, create_server
from waitress.task import ErrorTask, WSGITask

from mlsys import errors
from mlsys.api import problems

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
        self.response_headers.append(("Content-Type", problems.CONTENT_TYPE))
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


class _Channel(HTTPChannel):
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


def bind(app: Flask, *, host: str, port: int, threads: int, max_body_bytes: int, max_upload_bytes: int) -> BaseWSGIServer:
    """A server that holds its port but does not answer before run(). Raises Conflict when the port is taken."""
    channel = type("Channel", (_Channel,), {"parser_class": _parser(max_body_bytes, max_upload_bytes)})
    try:
        server = create_server(
            app,
            host=host,
            port=port,
            threads=threads,
            max_request_body_size=max(_DRAINED, 2 * max_upload_bytes),
            channel_timeout=30,
            connection_limit=1000,
            asyncore_use_poll=True,  # select() cannot watch that many
            ident="mlsys",
            clear_untrusted_proxy_headers=True,
            expose_tracebacks=False,
        )
    except OSError as error:
        raise errors.Conflict(
            f"Cannot listen on {host}:{port} ({error.strerror}). Stop what listens there, or choose another with --port."
        ) from None
    server.channel_class = channel
    return server
