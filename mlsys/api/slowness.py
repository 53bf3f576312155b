"""Tells a client that is too slow from one with much to send or to read. waitress by itself cuts only those that are silent.

Nobody holds a connection, or the thread that answers on it, by a byte now and then: whoever has begun a request, or does not take an
answer, must move LEAST_RATE bytes a second over each window of time. Whole and idle connections are no business of this.
"""

from typing import Any, NamedTuple

from waitress.channel import HTTPChannel

LEAST_RATE = 500
"""Bytes a second: a tenth of the slowest mobile line; as Apache's mod_reqtimeout has it."""


class _Window(NamedTuple):
    what: object
    since: float
    moved: int


class PacedChannel(HTTPChannel):
    _came = 0  # counted by the loop alone
    _went = 0  # counted by whoever holds the buffers
    _window: _Window | None = None

    def received(self, data: bytes) -> Any:
        self._came += len(data)
        return super().received(data)

    def send(self, data: bytes, do_close: bool = True) -> int:
        """How many bytes the socket took."""
        sent = int(super().send(data, do_close=do_close) or 0)
        self._went += sent
        return sent

    def is_slow(self, now: float, *, patience: float) -> bool:
        """Asked now and then; ``patience``: seconds of a window. An answer has twice as long: who reads it may have to think."""
        what, length = self._awaited(patience)
        moved, window = self._came + self._went, self._window
        if what is None or window is None or window.what is not what:
            self._window = None if what is None else _Window(what, now, moved)
            return False
        if now - window.since < length:
            return False
        self._window = _Window(what, now, moved)
        return moved - window.moved < LEAST_RATE * length

    def _awaited(self, patience: float) -> tuple[object, float]:
        """What the client still owes: the rest of this request, or to take what lies here for it; and for how long it may be slow."""
        if self.request is not None:
            return self.request, patience
        return (self.outbuf_lock, 2 * patience) if self.total_outbufs_len else (None, 0)
