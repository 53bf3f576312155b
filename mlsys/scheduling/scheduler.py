"""Runs APScheduler in this process, starts it anew when its thread has died, and tells how it is."""

import threading
import time
from collections.abc import Callable
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler

from mlsys import errors
from mlsys.clock import Clock, rfc3339
from mlsys.execution.leader import Leader
from mlsys.registry.unit_of_work import Units
from mlsys.scheduling.store import Noting, Store

_SILENT = 30.0  # seconds
_SLOW = 5.0


class Scheduler:
    """Runs in every process; in a standby its rounds are empty. ``reconcile``: called at the start, and when the tables are made anew.

    The thread is APScheduler's own; a supervisor looks after it here.
    """

    name = "scheduler"

    def __init__(self, *, store: Store, noting: Noting, leader: Leader, units: Units, clock: Clock, reconcile: Callable[[], None]) -> None:
        self._store = store
        self._noting = noting
        self._leader = leader
        self._units = units
        self._clock = clock
        self._reconcile = reconcile
        self._lock = threading.Lock()
        self._running: BackgroundScheduler | None = None

    def start(self) -> None:
        self._reconcile()
        with self._lock:
            self._store.ticked = self._store.succeeded = time.monotonic()
            self._begin()

    def stop(self) -> None:
        """Returns when no round goes on any more."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.shutdown(wait=False)

    def on_head(self) -> None:
        """The tables stand at the newest revision, and may have been made anew."""
        if self._running is not None:
            self._reconcile()

    @property
    def dead(self) -> bool:
        """Before its first round it lives, as long as that may take."""
        return self._running is not None and self._store.thread is not None and not self._store.thread.is_alive()

    def revive(self) -> bool:
        """Starts a thread that has died anew, and wakes one that sleeps too long: the clock it reckons by may have been set back."""
        with self._lock:
            if self.dead:
                self._begin()
                return True
            if self._running is not None and time.monotonic() - self._store.ticked > _SLOW:
                self._running.wakeup()
            return False

    @property
    def lateness(self) -> float | None:
        """Of the last firings of this process, from their time to their commit, in seconds; None before the first."""
        return self._store.lateness

    def health(self) -> dict[str, Any]:
        """``lateness_seconds``: of the last firings, from their time to their commit. ``overdue_seconds``: of the oldest one to come."""
        now = time.monotonic()
        told: dict[str, Any] = {
            "seconds_since_tick": round(now - self._store.ticked, 1),
            "lateness_seconds": self._store.lateness,
        }
        leader, standing = self._leader.health(), self._standing()
        failing = max(now - self._store.ticked, 0.0 if self._store.waits else now - self._store.succeeded)
        down = self._running is None or self.dead or failing > _SILENT or leader["status"] == "down"
        well = failing < _SLOW and standing.get("overdue_seconds", _SILENT) < _SILENT and leader["status"] == "ok"
        return leader | {"status": "down" if down else "ok" if well else "degraded"} | told | standing

    def _standing(self) -> dict[str, Any]:
        """What the schedules say; nothing while the database does not answer, which tells of itself."""
        try:
            with self._units() as unit:
                active, following = unit.schedules.active(), unit.schedules.next_fire_time()
        except errors.Unavailable:
            return {}
        overdue = max(0.0, (self._clock.now() - following).total_seconds()) if following is not None else 0.0
        return {"schedules": active, "next_fire_time": following and rfc3339(following), "overdue_seconds": round(overdue, 3)}

    def _begin(self) -> None:
        self._store.thread = None
        self._running = BackgroundScheduler(
            timezone="UTC", jobstores={"default": self._store}, executors={"default": self._noting}, daemon=True
        )
        self._running.start()
