"""All that brings events out, as one part to start and stop: the bell, the sequencer, and a relay for each sink."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from mlsys import errors
from mlsys.clock import Clock
from mlsys.events.signals import Signals
from mlsys.events.sinks import EventSink
from mlsys.publishing.bell import Bell
from mlsys.publishing.growth import Growth
from mlsys.publishing.relay import Relay
from mlsys.publishing.sequencer import Sequencer
from mlsys.registry.unit_of_work import Units

_WORSE = ("ok", "degraded", "down")


class Publisher:
    """``sinks``: name -> sink; the name is that of its cursor, so a sink under another name begins anew. ``epoch`` as of the Leader.
    ``queued``: called when a run waits, whichever process queued it.
    """

    def __init__(
        self,
        *,
        engine: sa.Engine,
        units: Units,
        signals: Signals,
        epoch: Callable[[], int | None],
        clock: Clock,
        sinks: Mapping[str, EventSink],
        queued: Callable[[], None],
    ) -> None:
        self.growth = Growth()
        self._bell = Bell(engine=engine)
        self._sequencer = Sequencer(
            units=units, epoch=epoch, signals=signals, bell=self._bell, sequenced=self.growth.wake, queued=queued, clock=clock
        )
        self._relays = [Relay(name=name, sink=sink, units=units, epoch=epoch, clock=clock) for name, sink in sinks.items()]
        for relay in self._relays:
            self.growth.call(relay.wake)
        self.threads = (self._sequencer.thread, self._bell.thread, *(relay.thread for relay in self._relays))

    @property
    def sinks(self) -> Sequence[str]:
        """Names of their cursors."""
        return [relay.name for relay in self._relays]

    def start(self) -> None:
        for relay in self._relays:
            relay.start()
        self._bell.start()
        self._sequencer.start()

    def number(self) -> None:
        """Numbers what is committed now, where this process leads without having been started: for one command."""
        while self._sequencer.round():
            pass

    def stop(self) -> None:
        self.growth.close()
        self._sequencer.stop()
        self._bell.stop()
        for relay in self._relays:
            relay.stop()

    def health(self) -> dict[str, Any]:
        """How far the log and each sink are. Without the database, which is asked for itself, this part just waits."""
        try:
            log, sinks = self._sequencer.health(), {relay.name: relay.health() for relay in self._relays}
        except errors.Unavailable as error:
            return {"status": "degraded", "error": type(error).__name__}
        worst = max((log["status"], *(sink["status"] for sink in sinks.values())), key=_WORSE.index)
        return log | {"status": worst, "sinks": sinks}
