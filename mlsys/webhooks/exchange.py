"""One HTTP exchange over a socket that is already connected, within a deadline and a size. Chooses no address; knows no webhook.

http.client does the protocol: it follows no redirect and reads no proxy settings. What it lacks is a deadline for the whole: a socket's
timeout starts anew with each byte, so that a server which sends one byte a second would never be given up.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_BYTES = 64 * 1024
"""Read of a body; what is longer is left unread."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a server answered. ``body``: at most MOST_BYTES of it. ``headers``: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


class Wire:
    """A connected socket as http.client uses one, that raises TimeoutError once ``deadline`` (by time.monotonic()) has passed."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.deadline = 0.0
        self.ended = False
        self._unsent = bytearray()

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reading(self))

    def sendall(self, data: bytes) -> None:
        """Collects: head and body leave in one segment."""
        self._unsent += data

    def close(self) -> None:
        """http.client is done with it, but the answer may still be read; Connection closes the socket."""

    def flush(self) -> None:
        data, self._unsent = memoryview(self._unsent), bytearray()
        while data:
            self._patience()
            data = data[self.socket.send(data) :]

    def receive_into(self, buffer: Any) -> int:
        self._patience()
        count = self.socket.recv_into(buffer)
        self.ended = count == 0
        return count

    def idle(self) -> bool:
        """Whether the other side has sent nothing, its end included, since the last answer."""
        self.socket.settimeout(0)
        try:
            self.socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            pass
        return False

    def _patience(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.socket.settimeout(left)


class _Reading(io.RawIOBase):
    """The reading side of a wire. Closing it leaves the wire open for the next exchange."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.receive_into(buffer)


class Connection:
    """A wire that carries one exchange after the other."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._http = http.client.HTTPConnection("unused")
        self._http.auto_open = False
        self._http.sock = wire
        self.used_at = time.monotonic()

    def exchange(self, method: str, path: str, body: bytes, headers: Mapping[str, str], *, deadline: float) -> tuple[Reply, bool]:
        """The answer, and whether the connection can be used again. Raises OSError (TimeoutError too) and http.client.HTTPException.

        An answer that breaks off or does not end in time is none: whoever gave it may not have finished what it says.
        """
        begin = time.monotonic()
        self._wire.deadline = deadline
        self._http.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            self._http.putheader(name, value)
        self._http.endheaders(body)
        self._wire.flush()
        with self._http.getresponse() as response:
            if self._wire.ended:  # http.client takes the end of the stream for that of the head
                raise http.client.IncompleteRead(b"")
            data = response.read(MOST_BYTES)
            whole = response.isclosed() or len(data) < MOST_BYTES
            if whole and (response.length or 0) > 0:
                raise http.client.IncompleteRead(b"", response.length)
            reusable = whole and not response.will_close
            found = {name.lower(): value for name, value in response.getheaders()}
        self.used_at = time.monotonic()
        return Reply(status=response.status, headers=found, body=data, seconds=self.used_at - begin), reusable

    def rested(self, seconds: float) -> bool:
        """Whether it has been unused for at most so long and can be used again."""
        return time.monotonic() - self.used_at <= seconds and self._wire.idle()

    def close(self) -> None:
        self._wire.socket.close()
