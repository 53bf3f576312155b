"""How a server is told to stop: the first signal lets it end its work while it still answers, the second makes it leave at once."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Leaving:
    """``first``: what is done at the first signal, in a thread of its own, before SystemExit is raised in the main thread; None: nothing.

    Leaving at once loses no state: runs are found by whoever starts next, and the embedded database stops with its parent.
    """

    def __init__(self) -> None:
        self.first: Callable[[], None] | None = None
        self._asked = False
        self._drained = False

    def listen(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked and not self._drained:
            os._exit(0)
        self._asked, self._drained = True, False
        if self.first is None:
            raise SystemExit(0)
        threading.Thread(target=self._drain, args=(self.first,), name="drain", daemon=True).start()
        self.first = None

    def _drain(self, first: Callable[[], None]) -> None:
        try:
            first()
        finally:
            self._drained = True
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
