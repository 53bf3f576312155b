"""Gives committed events their numbers: one gap-free sequence, in batches, within milliseconds of the commit.

A reader that advances by "id greater than the last" loses rows that commit late, and a lock held to the commit would put all commits in a
row. So numbers are given after the commit, by the leader alone. Every process runs a sequencer: that of a standby tells the leader that
there is work, by NOTIFY in a transaction of its own (in the writers' it would put their commits in a row as well).
"""

from collections.abc import Callable
from typing import Any

from mlsys import errors
from mlsys.clock import Clock
from mlsys.events.signals import Signals
from mlsys.events.types import Event
from mlsys.publishing.bell import COMMITTED, QUEUED, SEQUENCED, Bell
from mlsys.registry.unit_of_work import Units
from mlsys.worker import Worker

_BATCH = 1000
_POLL = 1.0  # for what was committed by a process that died before it could tell
_APART = 0.02  # numbering one event costs as much as numbering a hundred
_LATE = 10.0


class Sequencer:
    """``epoch``: the number under which this process leads, None while it does not. ``sequenced``: called after a batch, of any process;
    ``queued``: after one with runs that wait.
    """

    def __init__(
        self,
        *,
        units: Units,
        epoch: Callable[[], int | None],
        signals: Signals,
        bell: Bell,
        sequenced: Callable[[], None],
        queued: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._units = units
        self._epoch = epoch
        self._bell = bell
        self._sequenced = sequenced
        self._clock = clock
        self._news = False
        self._worker = Worker(name="sequencer", round=self.round, every=_POLL, apart=_APART)
        self.thread = self._worker.thread
        bell.on(COMMITTED, self._worker.wake)
        bell.on(SEQUENCED, sequenced)
        bell.on(QUEUED, queued)
        signals.every.connect(self._committed, weak=False)

    def start(self) -> None:
        self._worker.start()

    def stop(self) -> None:
        self._worker.stop()

    def round(self) -> bool:
        """One batch; whether there may be more. Raises DatabaseUnavailable."""
        news, self._news = self._news, False
        epoch = self._epoch()
        if epoch is None:
            if news:
                self._bell.ring(COMMITTED)
            return False
        try:
            return self._number(epoch)
        except errors.Fenced:
            return False  # another leads: it numbers

    def _number(self, epoch: int) -> bool:
        with self._units() as unit:
            if not unit.event_log.waiting():
                return False
            unit.guard(epoch)
            count = unit.event_log.number(limit=_BATCH, channel=SEQUENCED, queued=QUEUED)
            unit.commit()
        if count and not self._bell.listens:  # else it is on its way, as to all others
            self._sequenced()
        return count == _BATCH

    def health(self) -> dict[str, Any]:
        """``oldest_unsequenced_seconds``: how long the oldest committed event has been without a number; null when none is."""
        with self._units() as unit:
            since, last = unit.event_log.oldest_unnumbered(), unit.event_log.last()
        age = None if since is None else round((self._clock.now() - since).total_seconds(), 1)
        late = age is not None and age > _LATE
        return {"status": "down" if self.thread.dead else "degraded" if late else "ok", "sequence": last, "oldest_unsequenced_seconds": age}

    def _committed(self, sender: Any, *, event: Event) -> None:
        self._news = True
        self._worker.wake()
