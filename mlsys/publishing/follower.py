"""Reads the event log for those who follow it: a page that may be waited for, or batches without an end. HTTP is not known here."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlsys.events.types import SequencedEvent
from mlsys.places import Places
from mlsys.publishing.growth import Growth
from mlsys.registry.unit_of_work import Units

_POLL = 1.0  # should a wake-up get lost
_BATCH = 200
_FULL = "All places for readers that wait for events are taken (server.max_followers). Try again, or ask without wait."


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which events; see EventLog.after."""

    patterns: Sequence[str] = ()
    model_name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """``last_sequence``: all events up to it have been looked at. Go on after it, whether any was among the chosen or not."""

    items: Sequence[SequencedEvent]
    last_sequence: int
    more: bool


class Follower:
    """At most ``limit`` callers wait at a time."""

    def __init__(self, *, units: Units, growth: Growth, limit: int) -> None:
        self._units = units
        self._growth = growth
        self.places = Places(limit, full=_FULL)
        """One is to be held while waiting."""

    def close(self) -> None:
        """Lets all who wait go, for good."""
        self._growth.close()

    def last(self) -> int:
        with self._units() as unit:
            return unit.event_log.last()

    def page(self, after: int, chosen: Chosen, *, limit: int, seconds: float = 0.0) -> Found:
        """The first ``limit`` events after a number, as soon as there is one, or none after ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            seen = self._growth.seen
            found = self._look(after, chosen, limit)
            left = deadline - time.monotonic()
            if found.items or left <= 0 or self._growth.closed:
                return found
            self._growth.wait(seen, min(left, _POLL))

    def batches(self, after: int, chosen: Chosen, *, pulse: float) -> Iterator[Found]:
        """What comes, for as long as this process serves; every ``pulse`` seconds at least, then perhaps without items."""
        while not self._growth.closed:
            found = self.page(after, chosen, limit=_BATCH, seconds=pulse)
            after = found.last_sequence
            yield found

    def _look(self, after: int, chosen: Chosen, limit: int) -> Found:
        with self._units() as unit:
            last = unit.event_log.last()  # first: what is numbered meanwhile is for the next look
            items = unit.event_log.after(after, until=last, limit=limit + 1, patterns=chosen.patterns, model_name=chosen.model_name)
        more = len(items) > limit
        return Found(items=items[:limit], last_sequence=items[limit - 1].sequence if more else last, more=more)
