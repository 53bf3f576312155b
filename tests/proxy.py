"""A TCP proxy before PostgreSQL that can be cut or hang, and that can swallow the answer to a commit."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import sqlalchemy as sa


class Proxy:
    """Forwards to the unix socket or the port of a server. ``url``: a database of it, through the proxy."""

    def __init__(self, url: str) -> None:
        parsed = self._upstream = sa.make_url(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._cut = threading.Event()
        self._flowing = threading.Event()
        self._flowing.set()
        self._marker: bytes | None = None
        self.swallowed = threading.Event()
        port = self._listener.getsockname()[1]
        self.url = parsed.set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._drop()
        self._flowing.set()

    def cut(self) -> None:
        """No connection lives or is made from now on."""
        self._cut.set()
        self._drop()

    def hang(self) -> None:
        """Connections live, and no byte gets through, either way."""
        self._flowing.clear()

    def mend(self) -> None:
        self._cut.clear()
        self._flowing.set()

    @contextmanager
    def swallowing(self, marker: bytes) -> Iterator[threading.Event]:
        """The next commit of a transaction that has sent ``marker`` is carried out, and its answer never arrives."""
        self.swallowed.clear()
        self._marker = marker
        yield self.swallowed
        self._marker = None

    def _drop(self) -> None:
        with self._lock:
            dropped, self._open = self._open, []
        for one in dropped:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open += [client, server]
            lost = threading.Event()
            threading.Thread(target=self._pump, args=(client, server, lost, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, lost, False), daemon=True).start()

    def _connect(self) -> socket.socket:
        if self._cut.is_set():
            raise OSError("cut")
        at = self._upstream
        if "host" not in at.query:
            return socket.create_connection((at.host or "127.0.0.1", at.port or 5432))
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(f"{at.query['host']}/.s.PGSQL.{at.query.get('port', at.port or 5432)}")
        except OSError:
            server.close()
            raise
        return server

    def _pump(self, source: socket.socket, sink: socket.socket, lost: threading.Event, asks: bool) -> None:
        seen = False
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                if asks:
                    marker = self._marker
                    seen = (seen and b"BEGIN" not in data) or (marker is not None and marker in data)
                    if seen and b"COMMIT" in data:
                        self._marker = None
                        lost.set()
                elif lost.is_set():  # it has been carried out: the server has answered
                    self.swallowed.set()
                    break
                self._flowing.wait()
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
