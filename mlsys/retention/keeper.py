"""The server's own housekeeping: old lines and deliveries, what killed writers left, and, if it is set, the bytes of old versions."""

import logging
import math
import time
from typing import Any

from mlsys import errors
from mlsys.execution.leader import Leader
from mlsys.execution.periodic import Periodic
from mlsys.retention.collector import Collector

_log = logging.getLogger(__name__)
_EVERY = 600.0
_SWEEP_EVERY = 3600.0


class Keeper:
    """Works in the process that leads only. ``every``: seconds from one collection to the next; None: nobody asked for them."""

    def __init__(self, *, collector: Collector, leader: Leader, every: float | None) -> None:
        self._collector = collector
        self._leader = leader
        self._every = every
        self._busy = False
        self._swept = self._collected = -math.inf
        self._turns = Periodic(name="retention", interval=_EVERY if every is None else min(_EVERY, every), act=self.round)
        self.thread = self._turns.thread

    def start(self) -> None:
        self._turns.start()

    def stop(self) -> None:
        self._turns.stop()

    def health(self) -> dict[str, Any]:
        """A round may take long where there is much to look at; that is no reason to turn callers away."""
        return self._turns.health() | ({"status": "ok"} if self._busy and self.thread.alive else {})

    def round(self) -> None:
        """All that is due now."""
        if self._leader.epoch is None:
            return
        self._busy = True
        try:
            self._work()
        finally:
            self._busy = False

    def _work(self) -> None:
        now = time.monotonic()
        try:
            if self._every is not None and now - self._collected >= self._every:
                found = self._collector.collect()
                self._swept = self._collected = now
                _log.info("retention: %s versions freed, %s bytes removed", len(found.versions), found.bytes)
                return
            self._collector.tidy()
            if now - self._swept >= _SWEEP_EVERY:
                self._collector.sweep()
                self._swept = now
        except errors.Conflict as error:
            _log.info("retention waits: %s", error.message)
