"""One use case, one transaction: the repositories share its connection, and its events are announced once it is committed."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from mlsys.clock import Clock
from mlsys.events.outbox import Outbox
from mlsys.events.signals import Signals
from mlsys.registry.datasets import DatasetRepository
from mlsys.registry.models import ModelRepository
from mlsys.registry.promotions import PromotionRepository
from mlsys.registry.runs import RunRepository
from mlsys.registry.versions import VersionRepository
from mlsys.storage.database import translated


class UnitOfWork:
    """``with units() as unit: ...; unit.commit()``. Leaving without commit() rolls back. Raises DatabaseUnavailable for what may pass."""

    events: Outbox
    models: ModelRepository
    runs: RunRepository
    versions: VersionRepository
    promotions: PromotionRepository
    datasets: DatasetRepository

    def __init__(self, *, engine: sa.Engine, clock: Clock, signals: Signals) -> None:
        self._engine = engine
        self._clock = clock
        self._signals = signals

    def __enter__(self) -> Self:
        with translated():
            self._connection = connection = self._engine.connect()
        self.events = Outbox(connection=connection, clock=self._clock)
        self.models = ModelRepository(connection=connection, clock=self._clock)
        self.runs = RunRepository(connection=connection, clock=self._clock, outbox=self.events)
        self.versions = VersionRepository(connection=connection, clock=self._clock)
        self.promotions = PromotionRepository(connection=connection, clock=self._clock)
        self.datasets = DatasetRepository(connection=connection, clock=self._clock)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with translated():
            self._connection.close()
            if error is not None:
                raise error

    def commit(self) -> None:
        with translated():
            self._connection.commit()
        written, self.events.written = self.events.written, []
        self._signals.announce(written)

    def lock_model(self, name: str) -> None:
        """Waits for any other unit that adds versions or promotions of this model; held to the end of the transaction."""
        self._connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('model:' || :name, 0))"), {"name": name})


Units = Callable[[], UnitOfWork]
