"""Gives up what the rules do not keep, in small transactions that nobody waits for. Any number of processes may do so at once.

Freeing is two steps. The row that a version's bytes are freed is written first, with the model's lock held, so that nobody promotes it or
asks it for a prediction in the same instant; then its bytes are like those that a killed writer left: named by no row, and removed as such.
"""

from collections.abc import Sequence

from mlsys.clock import Clock
from mlsys.crashing import crash_point
from mlsys.records import Collected, Freeable
from mlsys.registry.unit_of_work import UnitOfWork, Units
from mlsys.retention.leftovers import Sweeper
from mlsys.retention.policy import Policy

_BATCH = 1000  # rows a transaction


class Collector:
    def __init__(self, *, units: Units, clock: Clock, sweeper: Sweeper, policy: Policy) -> None:
        self._units = units
        self._clock = clock
        self._sweeper = sweeper
        self._policy = policy

    def plan(self) -> Collected:
        """What collect() would do now."""
        found, now = Collected(), self._clock.now()
        with self._units() as unit:
            for name, _ in unit.models.definitions():
                found.versions += self._freeable(unit, name)
            found.run_log_lines = unit.retention.old_lines(before=now - self._policy.lines)
            found.deliveries = unit.delivery_log.old(before=now - self._policy.deliveries)
        self._sweeper.plan(found, seconds=self._grace, without={version.model_version_id for version in found.versions})
        return found

    def collect(self) -> Collected:
        """All of it. Raises Conflict while a backup is being made; then only stored files are still there, and go the next time."""
        found = self.tidy()
        self.free(found)
        crash_point("versions freed")
        self._sweeper.sweep(found, seconds=self._grace)
        return found

    def tidy(self) -> Collected:
        """Old log lines, deliveries that arrived long ago, secrets that were replaced."""
        found, now, more = Collected(), self._clock.now(), True
        while more:
            with self._units() as unit:
                unit.webhooks.forget_secrets()
                deliveries = unit.delivery_log.purge(before=now - self._policy.deliveries, limit=_BATCH)
                lines = unit.retention.forget_lines(before=now - self._policy.lines, limit=_BATCH)
                unit.commit()
            found.deliveries += deliveries
            found.run_log_lines += lines
            more = _BATCH in (deliveries, lines)
        return found

    def free(self, found: Collected) -> None:
        """Notes which versions have no bytes any more."""
        with self._units() as unit:
            names = [name for name, _ in unit.models.definitions()]
        for name in names:
            with self._units() as unit:
                unit.lock_model(name)
                versions = self._freeable(unit, name)
                for version in versions:
                    unit.retention.free(version, policy=self._policy.freed)
                unit.commit()
            found.versions += versions

    def sweep(self) -> Collected:
        """Only what no row names."""
        found = Collected()
        self._sweeper.sweep(found, seconds=self._grace)
        return found

    def _freeable(self, unit: UnitOfWork, name: str) -> Sequence[Freeable]:
        return unit.retention.freeable(name, newest=self._policy.newest, before=self._clock.now() - self._policy.age)

    @property
    def _grace(self) -> float:
        return self._policy.grace.total_seconds()
