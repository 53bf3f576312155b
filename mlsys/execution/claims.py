"""What this process takes from the queue, and has in hand. The queue is the database: nobody here waits in any order of ours."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mlsys import errors
from mlsys.execution.limits import Limits
from mlsys.execution.presence import Presence
from mlsys.records import Run
from mlsys.registry.unit_of_work import UnitOfWork


class Taken(Exception):
    """Another process claimed at the same instant what excludes this claim. The transaction is spoilt; try again in a new one."""


class Claims:
    """Knows as well whether a look at the queue is worth its while: ``launched`` runs nobody here has claimed yet, or somebody called."""

    def __init__(self, *, presence: Presence, limits: Limits) -> None:
        self._presence = presence
        self._limits = limits
        self._lock = threading.Lock()
        self._in_hand: set[str] = set()
        self._overtime: set[str] = set()
        self._among: set[str] | None = set()
        self._launches = self._claimed = 0
        self._calls = self._answered = 0

    @property
    def in_hand(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._in_hand)

    @property
    def overtime(self) -> int:
        """How many of these have ended by a timeout, while their threads have not noticed."""
        return len(self._overtime)

    @property
    def hopeful(self) -> bool:
        """Whether there may be something to claim that was not seen yet."""
        return self._launches > self._claimed or self._calls != self._answered

    def take_all(self) -> None:
        """Whatever waits is claimed from now on, not only what has been launched here."""
        self._among = None

    def launch(self, run_id: str) -> None:
        """A run of this process waits."""
        with self._lock:
            self._launches += 1
            if self._among is not None:
                self._among.add(run_id)

    def call(self) -> None:
        """There may be something, of another process, or that could not begin until now."""
        with self._lock:
            self._calls += 1

    @contextmanager
    def next(self, unit: UnitOfWork, *, durable: bool = False) -> Iterator[Run | None]:
        """The run that comes first, ours once the unit is committed in here. Raises Taken."""
        with self._lock:
            launches, calls = self._launches, self._calls
            among, apart = self._among and list(self._among), list(self._in_hand)
        run = None
        if among != set():
            try:
                run = unit.runs.claim(owner=self._presence.owner, among=among, apart=apart, alone=self._limits.alone, durable=durable)
            except errors.Conflict:
                raise Taken from None
        with self._lock:
            if run is None:
                self._claimed, self._answered = max(self._claimed, launches), calls
            else:
                self._claimed = min(self._claimed + 1, self._launches)
                self._in_hand.add(run.id)
        try:
            yield run
        except BaseException:
            self._drop(run)
            self.call()
            raise

    def late(self, run: Run) -> None:
        with self._lock:
            self._overtime |= {run.id} & self._in_hand

    def done(self, run: Run) -> None:
        """No thread works on it any more; what could not run beside it may be next."""
        self._drop(run)
        if run.kind in self._limits.alone or run.trigger.get("type") == "schedule":
            self.call()

    def _drop(self, run: Run | None) -> None:
        if run is not None:
            with self._lock:
                self._in_hand.discard(run.id)
                self._overtime.discard(run.id)
