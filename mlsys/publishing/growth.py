"""Wakes those of this process who wait for the event log to grow, whichever process is the leader that lets it grow."""

import threading
from collections.abc import Callable


class Growth:
    """``seen`` changes with every wake-up. Read it before you look, then wait() until it is another: no wake-up in between is lost."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._called: list[Callable[[], None]] = []
        self.seen = 0
        self.closed = False

    def call(self, listener: Callable[[], None]) -> None:
        """Calls it at each wake-up. It must be quick and must not raise: setting a threading.Event, say."""
        self._called.append(listener)

    def wake(self) -> None:
        with self._condition:
            self.seen += 1
            self._condition.notify_all()
        for listener in self._called:
            listener()

    def close(self) -> None:
        """This process stops: whoever waits goes home."""
        self.closed = True
        self.wake()

    def wait(self, seen: int, seconds: float) -> None:
        """Until ``seen`` is old news, or for so long."""
        with self._condition:
            self._condition.wait_for(lambda: self.seen != seen, timeout=seconds)
