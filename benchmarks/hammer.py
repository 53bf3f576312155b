"""Several keep-alive clients at once, in a process of their own: ``hammer.py PORT CLIENTS SECONDS PATH...``; prints one JSON object.

Plain sockets with the settings that any client starts with (Nagle's algorithm on, acknowledgements delayed as the kernel likes): a richer
client would spend on itself the cores that the server needs.
"""

import json
import os
import socket
import sys
import threading
import time
from itertools import cycle, islice


class Connection:
    """``MLSYS_TOKEN`` in the environment is sent as a token."""

    def __init__(self, port: int) -> None:
        token = os.environ.get("MLSYS_TOKEN")
        self._who = f"Authorization: Bearer {token}\r\n" if token else ""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.segments = 0

    def get(self, path: str) -> bytes:
        """The body of a 200. Raises RuntimeError for any other answer. ``segments``: reads that this answer took."""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n{self._who}\r\n".encode())
        data, needed, self.segments = b"", None, 0
        while needed is None or len(data) < needed:
            part = self._socket.recv(1 << 20)
            if not part:
                raise RuntimeError(f"{path}: the connection was closed after {len(data)} bytes")
            data += part
            self.segments += 1
            if needed is None and (end := data.find(b"\r\n\r\n")) >= 0:
                if not data.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"{path}: {data[:200]!r}")
                head = data[:end].lower()
                needed = end + 4 + int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        return data[end + 4 :]


def hammer(port: int, clients: int, seconds: float, paths: list[str]) -> dict[str, float]:
    """Requests a second of all clients together, and percentiles of the seconds that one takes."""
    took: list[float] = []
    until = time.perf_counter() + seconds

    def work(first: int) -> None:
        connection = Connection(port)
        for path in islice(cycle(paths), first, None):
            begin = time.perf_counter()
            if begin >= until:
                return
            connection.get(path)
            took.append(time.perf_counter() - begin)

    threads = [threading.Thread(target=work, args=(i * 7 % len(paths),)) for i in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took.sort()
    return {
        "rate": len(took) / (time.perf_counter() - begin),
        "p50": took[len(took) // 2],
        "p99": took[min(len(took) - 1, int(0.99 * len(took)))],
    }


if __name__ == "__main__":
    print(json.dumps(hammer(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])))
