"""One use case, one transaction: the repositories share its connection, and its events are announced once it is committed."""

from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

import sqlalchemy as sa

from mlsys import errors
from mlsys.clock import Clock
from mlsys.events.outbox import Outbox
from mlsys.events.signals import Signals
from mlsys.events.types import Event
from mlsys.registry.datasets import DatasetRepository
from mlsys.registry.deliveries import DeliveryRepository
from mlsys.registry.delivery_log import DeliveryLog
from mlsys.registry.episodes import EpisodeRepository
from mlsys.registry.events import EventLog
from mlsys.registry.figures import FigureRepository
from mlsys.registry.firings import FiringRepository
from mlsys.registry.importances import ImportanceRepository
from mlsys.registry.inventory import InventoryRepository
from mlsys.registry.models import ModelRepository
from mlsys.registry.predictions import PredictionRepository
from mlsys.registry.promotions import PromotionRepository
from mlsys.registry.retention import RetentionRepository
from mlsys.registry.runs import RunRepository
from mlsys.registry.schedules import ScheduleRepository
from mlsys.registry.tokens import TokenRepository
from mlsys.registry.versions import VersionRepository
from mlsys.registry.webhooks import WebhookRepository
from mlsys.storage.database import translated

_GUARD = sa.text(
    """
WITH patience AS (SELECT set_config('idle_in_transaction_session_timeout', '5s', true) AS set)
SELECT l.epoch FROM patience, leadership l WHERE l.role = 'leader' AND l.epoch = :epoch AND patience.set IS NOT NULL FOR KEY SHARE OF l
"""
)
_THEN = sa.text(
    """
SELECT set_config('mlsys.as_of', :at, true), set_config('transaction_read_only', 'on', true),
       set_config('search_path', 'mlsys_as_of, ' || current_setting('search_path'), true)
"""
)


class UnitOfWork:
    """``with units() as unit: ...; unit.commit()``. Leaving without commit() rolls back. Raises DatabaseUnavailable for what may pass.

    ``as_of``: all repositories answer as they stood at that instant, and nothing can be written. Their queries are the same; what differs
    is which schema they find their tables in (migration 004). ``before_commit`` may add to the transaction, or refuse it by raising.
    """

    events: Outbox
    event_log: EventLog
    models: ModelRepository
    runs: RunRepository
    versions: VersionRepository
    promotions: PromotionRepository
    datasets: DatasetRepository
    predictions: PredictionRepository
    episodes: EpisodeRepository
    importances: ImportanceRepository
    schedules: ScheduleRepository
    firings: FiringRepository
    webhooks: WebhookRepository
    deliveries: DeliveryRepository
    delivery_log: DeliveryLog
    inventory: InventoryRepository
    tokens: TokenRepository
    figures: FigureRepository
    retention: RetentionRepository

    def __init__(
        self,
        *,
        engine: sa.Engine,
        clock: Clock,
        signals: Signals,
        as_of: datetime | None = None,
        before_commit: Callable[[sa.Connection, Sequence[Event]], None] = lambda connection, written: None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._signals = signals
        self._as_of = as_of
        self._before_commit = before_commit

    def __enter__(self) -> Self:
        with translated():
            self._connection = connection = self._engine.connect()
            if self._as_of is not None:
                connection.execute(_THEN, {"at": self._as_of.isoformat()})
        self.events = Outbox(connection=connection, clock=self._clock)
        self.event_log = EventLog(connection=connection)
        self.models = ModelRepository(connection=connection, clock=self._clock)
        self.runs = RunRepository(connection=connection, clock=self._clock, outbox=self.events)
        self.versions = VersionRepository(connection=connection, clock=self._clock)
        self.promotions = PromotionRepository(connection=connection, clock=self._clock)
        self.datasets = DatasetRepository(connection=connection, clock=self._clock)
        self.predictions = PredictionRepository(connection=connection, clock=self._clock)
        self.episodes = EpisodeRepository(connection=connection, clock=self._clock)
        self.importances = ImportanceRepository(connection=connection, clock=self._clock)
        self.schedules = ScheduleRepository(connection=connection, clock=self._clock)
        self.firings = FiringRepository(connection=connection, clock=self._clock, outbox=self.events)
        self.webhooks = WebhookRepository(connection=connection, clock=self._clock, past=self._as_of is not None)
        self.deliveries = DeliveryRepository(connection=connection, clock=self._clock)
        self.delivery_log = DeliveryLog(connection=connection, clock=self._clock)
        self.inventory = InventoryRepository(connection=connection)
        self.tokens = TokenRepository(connection=connection, clock=self._clock)
        self.figures = FigureRepository(connection=connection, clock=self._clock)
        self.retention = RetentionRepository(connection=connection, clock=self._clock)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with translated():
            self._connection.close()
            if error is not None:
                raise error

    @property
    def as_of(self) -> datetime | None:
        """The instant of the past that this unit looks from; None: the present."""
        return self._as_of

    def commit(self) -> None:
        with translated():
            self._before_commit(self._connection, self.events.written)
            self._connection.commit()
        written, self.events.written = self.events.written, []
        self._signals.announce(written)

    def lock_model(self, name: str, *, shared: bool = False) -> None:
        """Waits for any other unit that adds versions or promotions of this model, or frees some; held to the end of the transaction.

        ``shared``: for who only needs a version to stay as it is.
        """
        text = f"SELECT pg_advisory_xact_lock{'_shared' if shared else ''}(hashtextextended('model:' || :name, 0))"
        self._connection.execute(sa.text(text), {"name": name})

    def guard(self, epoch: int) -> None:
        """Refuses this transaction unless the leader of ``epoch`` still leads, and lets no other begin before it has ended.

        Raises Fenced. A process that stands still in the middle loses its session after a while, and with it its locks.
        """
        with translated():
            if self._connection.execute(_GUARD, {"epoch": epoch}).one_or_none() is None:
                raise errors.Fenced("Another process leads now; nothing was written.")


Units = Callable[[], UnitOfWork]


class TimedUnits(Protocol):
    """Units of work of the present, or of the past."""

    def __call__(self, *, as_of: datetime | None = None) -> UnitOfWork: ...
