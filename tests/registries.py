"""Runs, versions and promotion chains made by hand, for tests of the registries by themselves."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from mlsys.records import Blob, TrainOutcome, Validation, Verdict
from mlsys.records import DataUsed as Data
from mlsys.registry.promotions import digest
from mlsys.registry.unit_of_work import Units
from mlsys.storage import tables
from mlsys.storage.artifacts import FolderBlobs

START = datetime(2020, 1, 1, 12, tzinfo=UTC)


def queue(units: Units, model: str = "m") -> str:
    with units() as unit:
        id = unit.runs.add(kind="train", model_name=model, trigger={"type": "api"}, spec={})
        unit.commit()
        return id


def delayed(units: Units) -> str:
    """A run that waits for its next attempt: nobody takes it for an hour."""
    id = queue(units)
    with units() as unit:
        assert unit.runs.claim(owner=1, among=[id]) is not None
        unit.runs.requeue(id, expected="running", delay=3600)
        unit.commit()
        return id


def outcome(blob: Blob) -> TrainOutcome:
    data = Data(rows=1, start=None, end=None, sha256="0" * 64)
    return TrainOutcome(artifact=blob, twin=blob, twin_cutoff=START, metrics={"mae": 1.0}, evaluation={}, checks=(), data=data)


def version(units: Units, blobs: FolderBlobs, word: str = "model", *, model: str = "m", decision: Any = "accepted") -> str:
    run = queue(units, model)
    validation = Validation(decision=decision, checks=(Verdict(name="skill", passed=True, value=0.5, threshold=0.1),))
    with units() as unit:
        unit.lock_model(model)
        found = unit.versions.add(model_name=model, run_id=run, spec={}, outcome=outcome(blobs.put(word.encode())), validation=validation)
        unit.commit()
        return found.model_version_id


def chain(engine: sa.Engine, model: str = "m") -> list[Any]:
    query = sa.select(tables.promotions).where(tables.promotions.c.model_name == model).order_by(tables.promotions.c.sequence)
    with engine.connect() as connection:
        return list(connection.execute(query).mappings())


def broken_links(entries: list[Any]) -> list[int]:
    """Sequences of entries whose hash is not that of their content, or that do not follow their predecessor."""
    before = [None, *(entry["hash"] for entry in entries)]
    return [
        entry["sequence"]
        for number, entry in enumerate(entries)
        if digest(entry) != entry["hash"] or entry["previous_hash"] != before[number] or entry["sequence"] != number + 1
    ]


def events(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(sa.select(tables.events.c.type).order_by(tables.events.c.id)))


def current(units: Units, at: datetime | None = None) -> str | None:
    """The version of model "m" in production."""
    with units() as unit:
        found = unit.promotions.production("m", at=at)
        return found.model_version_id if found else None
