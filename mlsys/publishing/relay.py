"""Hands the numbered events to one sink, in order and at least once. How far it is, is kept in the database under the sink's name."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from mlsys import errors
from mlsys.clock import Clock
from mlsys.events.sinks import EventSink
from mlsys.events.types import SequencedEvent
from mlsys.registry.unit_of_work import Units
from mlsys.worker import Worker

_log = logging.getLogger(__name__)
_BATCH = 500
_POLL = 1.0
_LONGEST_PAUSE = 60.0
_SILENT = 30.0  # a sink that takes so long for one batch hangs


class Relay:
    """Works where the leader is: ``epoch`` is None elsewhere. A leader that was replaced meanwhile cannot move the cursor."""

    def __init__(self, *, name: str, sink: EventSink, units: Units, epoch: Callable[[], int | None], clock: Clock) -> None:
        self.name = name
        self._sink = sink
        self._units = units
        self._epoch = epoch
        self._clock = clock
        self._failures = 0
        self._not_before = 0.0
        self._error: str | None = None
        self._worker = Worker(name=f"relay {name}", round=self.round, every=_POLL)
        self.wake = self._worker.wake
        self.thread = self._worker.thread

    def start(self) -> None:
        self._begin()
        self._worker.start()

    def stop(self) -> None:
        self._worker.stop()
        try:
            self._sink.close()
        except Exception:
            _log.exception("the event sink %s did not close cleanly", self.name)

    def round(self) -> bool:
        """One batch; whether there may be more. Raises DatabaseUnavailable."""
        epoch = self._epoch()
        if epoch is None or time.monotonic() < self._not_before:
            return False
        with self._units() as unit:
            cursor = unit.event_log.cursor(self.name)
            events = unit.event_log.after(cursor, limit=_BATCH) if cursor is not None else []
        if cursor is None:  # the schema was taken down and up again meanwhile
            self._begin()
        return self._send(epoch, events) if events else False

    def _begin(self) -> None:
        """A sink that is new to this database begins with the next event."""
        with self._units() as unit:
            unit.event_log.begin(self.name)
            unit.commit()

    def _send(self, epoch: int, events: Sequence[SequencedEvent]) -> bool:
        try:
            self._sink.send(events)
        except Exception as error:
            self._failed(error)
            return False
        self._failures, self._error = 0, None
        return self._move(epoch, events[-1].sequence) and len(events) == _BATCH

    def _move(self, epoch: int, sequence: int) -> bool:
        try:
            with self._units() as unit:
                unit.guard(epoch)
                unit.event_log.move(self.name, sequence)
                unit.commit()
        except errors.Fenced:
            return False  # the next leader sends them again
        return True

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        pause = min(_LONGEST_PAUSE, 0.5 * 2 ** min(self._failures, 10))
        self._not_before = time.monotonic() + pause
        self._error = type(error).__name__
        # the text of a foreign exception may hold an address or a password: it goes to the log only
        level = logging.WARNING if self._failures == 1 else logging.DEBUG
        _log.log(level, "the event sink %s failed (%s); again in %.0f s", self.name, error, pause)

    def health(self) -> dict[str, Any]:
        """``behind``: events it has not taken; ``oldest_undelivered_seconds``: the age of the first of them, null when there is none."""
        with self._units() as unit:
            last = unit.event_log.last()
            cursor = unit.event_log.cursor(self.name) or 0
            waiting = unit.event_log.after(cursor, limit=1)
        age = round((self._clock.now() - waiting[0].timestamp).total_seconds(), 1) if waiting else None
        ok = not self.thread.dead and self._failures < 3 and self._worker.idle_seconds < _SILENT
        return {
            "status": "ok" if ok else "degraded",
            "sequence": cursor,
            "behind": last - cursor,
            "oldest_undelivered_seconds": age,
            "failures": self._failures,
            "error": self._error,
        }
