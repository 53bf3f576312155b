"""A line to PostgreSQL that can be cut: a TCP port before its socket, which forwards, hangs, or refuses."""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

_PART = 65536


class Line:
    """``url``: the database behind it. cut() breaks what is connected and refuses anew; hang() lets no byte through, both ways."""

    def __init__(self, url: str) -> None:
        self._target = sa.make_url(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = threading.Event()
        self._open.set()
        self._refusing = False
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        host, port = self._listener.getsockname()[:2]
        self.url = self._target.set(host=host, port=port, query={}).render_as_string(hide_password=False)
        threading.Thread(target=self._accept, name="line", daemon=True).start()

    def cut(self) -> None:
        self._refusing = True
        self._break()

    def hang(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        self._refusing = False
        self._open.set()

    def close(self) -> None:
        self.cut()
        self._open.set()
        self._listener.close()

    def _break(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                near.close()
                continue
            threading.Thread(target=self._forward, args=(near, self._connect()), name="line", daemon=True).start()

    def _connect(self) -> socket.socket:
        folder = str(self._target.query["host"]) if "host" in self._target.query else None
        if folder is None:
            return socket.create_connection((self._target.host or "127.0.0.1", self._target.port or 5432))
        far = socket.socket(socket.AF_UNIX)
        far.connect(str(Path(folder) / f".s.PGSQL.{self._target.query.get('port', self._target.port or 5432)}"))
        return far

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        with self._lock:
            self._pairs.append((near, far))
        other = {near: far, far: near}
        with near, far, contextlib.suppress(OSError):
            while True:
                for ready in select.select([near, far], [], [])[0]:
                    data = ready.recv(_PART)
                    self._open.wait()
                    if not data:
                        return
                    other[ready].sendall(data)


@contextmanager
def line(url: str) -> Iterator[Line]:
    found = Line(url)
    try:
        yield found
    finally:
        found.close()
