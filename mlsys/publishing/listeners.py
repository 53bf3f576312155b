"""Functions of users that are called for each event of this process, once it is committed: entry points of the group ``mlsys.listeners``.

A listener is a convenience: it hears only of this process' events, and of none that a crash cut off. Who must not miss any writes a sink.
They are called on a thread of their own, so one that is slow or raises harms nobody; it is counted.
"""

import contextlib
import logging
import queue
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

from mlsys.events.signals import Signals
from mlsys.events.types import Event
from mlsys.supervision import Supervised

GROUP = "mlsys.listeners"
Listener = Callable[[Event], object]
_log = logging.getLogger(__name__)
_MOST_WAITING = 10_000


def installed() -> dict[str, Listener]:
    """By name. One that cannot be imported is told of and left out."""
    found: dict[str, Listener] = {}
    for entry in metadata.entry_points(group=GROUP):
        try:
            found[entry.name] = entry.load()
        except Exception:  # a plugin may fail in any way while it is imported
            _log.exception("the listener %s (%s) cannot be imported", entry.name, entry.value)
    return found


class Listeners:
    """``failures``: name -> how often it raised; ``dropped``: events that came while too many waited."""

    def __init__(self, *, signals: Signals, listeners: Mapping[str, Listener]) -> None:
        self._listeners = listeners
        self._waiting: queue.Queue[Event | None] = queue.Queue(_MOST_WAITING)
        self.thread = Supervised(name="listeners", run=self._run)
        self.failures = dict.fromkeys(listeners, 0)
        self.dropped = 0
        if listeners:
            signals.every.connect(self._take, weak=False)

    def start(self) -> None:
        if self._listeners:
            self.thread.start()

    def stop(self) -> None:
        """Without waiting for one that hangs."""
        self.thread.dismiss()
        if self.thread.alive:
            with contextlib.suppress(queue.Full):
                self._waiting.put(None, timeout=0.5)
            self.thread.join(2)

    def health(self) -> dict[str, Any]:
        return {"status": "ok", "failures": self.failures, "dropped": self.dropped}

    def _take(self, sender: Any, *, event: Event) -> None:
        if not self.thread.wanted:
            return
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self.dropped += 1

    def _run(self) -> None:
        while (event := self._waiting.get()) is not None:
            for name, listener in self._listeners.items():
                try:
                    listener(event)
                except BaseException:  # one that raises SystemExit harms nobody either
                    self.failures[name] += 1
                    _log.exception("the listener %s raised on %s", name, event.type)
