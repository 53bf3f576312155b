"""A built mlsys: its parts, and the order in which they start and stop. bootstrap makes it; nothing is chosen here."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
import tenacity

from mlsys import errors
from mlsys.api.services import Services
from mlsys.config import Config
from mlsys.execution.engines import Processes, Threads
from mlsys.execution.leader import Leader
from mlsys.execution.presence import Presence
from mlsys.execution.recovery import Recovery
from mlsys.execution.runner import Runner
from mlsys.monitoring.watch import Watch
from mlsys.publishing.listeners import Listeners
from mlsys.publishing.publisher import Publisher
from mlsys.scheduling.scheduler import Scheduler
from mlsys.storage import unfinished
from mlsys.storage.artifacts import FolderBlobs
from mlsys.storage.embedded import EmbeddedPostgres
from mlsys.timetravel.datasets import DatasetService
from mlsys.timetravel.engine import Engine
from mlsys.timetravel.housekeeping import Housekeeping
from mlsys.timetravel.locks import ReadingLocks
from mlsys.timetravel.reader import Reader
from mlsys.timetravel.verifying import Verifier
from mlsys.tracing import Tracer
from mlsys.upkeep import Upkeep
from mlsys.webhooks.dispatcher import Dispatcher

_log = logging.getLogger(__name__)
_patient = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(errors.DatabaseUnavailable),
    wait=tenacity.wait_fixed(1),
    stop=tenacity.stop_after_delay(60),
    before_sleep=lambda state: _log.warning("the database cannot be reached yet; waiting for it"),
    reraise=True,
)


class _Part(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


@dataclass(kw_only=True)
class System:
    """One running mlsys. start() may be called once; stop() any number of times, also after a start() that failed half-way."""

    config: Config
    services: Services
    database: EmbeddedPostgres | None
    tracer: Tracer
    engine: sa.Engine
    presence: Presence
    runner: Runner
    bodies: Threads | Processes
    recovery: Recovery
    leader: Leader
    scheduler: Scheduler
    publisher: Publisher
    dispatcher: Dispatcher
    listeners: Listeners
    data: "Data"
    watch: Watch
    verifier: Verifier
    upkeep: Upkeep
    _started: list[Callable[[], None]] = field(default_factory=list)

    def start(self, *, recover: bool = True) -> None:
        """Database (unless it has been started), schema, then work.

        ``recover=False`` leaves other runs in the queue alone: for a command that does just its own.
        """
        if not self._started:
            self.start_database()
        try:
            if recover:
                _patient(self.services.schema.move, "up")
            else:
                self.services.schema.move("up")
            grace = self.config.execution.grace_seconds
            self._started.append(self.tracer.close)
            self._started += [self.presence.release, self.data.close, self.bodies.stop, partial(self.runner.stop, grace_seconds=grace)]
            self.presence.assert_held()
            if recover:
                self.bodies.start()
                self.runner.take_all()
                for part in self._serving():
                    self._started.append(part.stop)
                    part.start()
            else:
                self._started.append(self._number)
                self._number()
        except BaseException:
            self.stop()
            raise

    def _serving(self) -> tuple[_Part, ...]:
        """What a server does by itself, in the order in which each finds what it needs."""
        return (
            self.recovery,
            self.leader,
            self.scheduler,
            self.listeners,
            self.publisher,
            self.dispatcher,
            self.data.housekeeping,
            self.watch,
            self.upkeep.keeper,
        )

    def _number(self) -> None:
        """Gives the events of a command their numbers, if nobody leads who would do it."""
        self.leader.beat()
        self.publisher.number()
        self.leader.stop()

    def start_database(self, *, restoring: bool = False) -> None:
        """Just the database, its schema as it stands: for commands about the schema itself. Raises ConfigError for a home half restored."""
        try:
            make_home(self.config.home)
            if not restoring:
                unfinished.refuse(self.config.home)
            if self.database is not None:
                self._started.append(self.database.stop)
                self.database.start()
            self._started.append(self.engine.dispose)
        except BaseException:
            self.stop()
            raise

    def drain(self) -> None:
        """The first part of a stop, while requests are still answered: health tells of it, nothing is begun, what runs gets its grace."""
        self.runner.close()
        self.scheduler.stop()
        self.runner.stop(grace_seconds=self.config.execution.grace_seconds)

    def stop(self) -> None:
        """In the reverse order of the start. A part that fails to stop does not keep the others from it."""
        while self._started:
            try:
                self._started.pop()()
            except Exception:
                _log.exception("a part did not stop cleanly")


@dataclass(frozen=True, kw_only=True)
class Data:
    """The parts of the data sets."""

    service: DatasetService
    blobs: FolderBlobs
    reader: Reader
    housekeeping: Housekeeping
    engine: Engine
    locks: ReadingLocks

    def close(self) -> None:
        self.locks.close()
        self.engine.close()


def make_home(home: Path) -> None:
    """The folder of our own state, for our eyes only. Raises ConfigError when it cannot be made."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise errors.ConfigError(f"The home {home} cannot be made ({error.strerror}). Choose another with --home or MLSYS_HOME.") from None
