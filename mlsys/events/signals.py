"""One blinker namespace: a signal per event type, sent after the commit as a wake-up. The truth is the events table."""

import logging
from collections.abc import Iterable

from blinker import Namespace, Signal

from mlsys.events.types import Event

_log = logging.getLogger(__name__)


class Signals:
    """Signals of one system. A listener that raises harms nobody: it is logged, and the others are still called."""

    def __init__(self) -> None:
        self._namespace = Namespace()
        self.every = self._namespace.signal("*")
        """Sent for each event, whatever its type."""

    def of(self, type: str) -> Signal:
        return self._namespace.signal(type)

    def announce(self, events: Iterable[Event]) -> None:
        for event in events:
            for receiver in [*self.of(event.type).receivers_for(self), *self.every.receivers_for(self)]:
                try:
                    receiver(self, event=event)
                except Exception:
                    _log.exception("a listener of %s raised", event.type)
