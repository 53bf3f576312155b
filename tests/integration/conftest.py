"""One running system a module, for the tests that only ask it questions; and the registries by themselves, on both servers."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import front
import hooking
import pytest
import sqlalchemy as sa
from registries import START

from mlsys.events.signals import Signals
from mlsys.registry.production import Production
from mlsys.registry.unit_of_work import UnitOfWork, Units
from mlsys.storage.artifacts import FolderBlobs
from mlsys.storage.database import make_engine
from mlsys.testing import FrozenClock

MODELS = {
    "quick": front.definition(),
    "naive": front.definition(model={"type": "seasonal_naive"}),
    "idle": front.definition(timezone="Europe/Amsterdam"),
    "dated": front.definition(created_at="known"),
}


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[front.World]:
    url = embedded_server.clone()
    with front.started(tmp_path_factory.mktemp("world"), url, MODELS, **hooking.ALLOWED) as found:
        yield found
    embedded_server.drop(url)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(START)


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = make_engine(database_url, pool_size=12, statement_timeout_seconds=30)
    yield engine
    engine.dispose()


@pytest.fixture
def signals() -> Signals:
    return Signals()


@pytest.fixture
def units(engine: sa.Engine, clock: FrozenClock, signals: Signals) -> Units:
    return partial(UnitOfWork, engine=engine, clock=clock, signals=signals)


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(folder=tmp_path / "blobs")


@pytest.fixture
def production(units: Units, blobs: FolderBlobs) -> Production:
    with units() as unit:
        unit.models.define("m", {"a": 1})
        unit.commit()
    return Production(units=units, blobs=blobs)
