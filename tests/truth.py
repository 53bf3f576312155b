"""A registry in memory, of one model, so simple that it can be seen to be right; and the comparison of a real one with it."""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from mlsys import errors
from mlsys.registry.unit_of_work import UnitOfWork

ALL = 200
EVENTS = sa.text("SELECT type FROM events WHERE data ->> 'model_name' = :name ORDER BY id")


@dataclass
class Going:
    """A run as the model knows it."""

    id: str
    status: str = "queued"
    attempt: int = 1
    owner: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    history: list[tuple[str, int, datetime]] = field(default_factory=list)

    def move(self, status: str, at: datetime) -> None:
        self.status, self.owner = status, None
        self.attempt += status == "queued" and bool(self.history)
        self.started_at = None if status == "queued" else at if status == "running" else self.started_at
        self.finished_at = None if status in ("queued", "running") else at
        self.history.append((status, self.attempt, at))


@dataclass
class Truth:
    """All that there is of one model. ``stack``: what demote walks back over; its last is in production."""

    definition: dict[str, Any] | None = None
    decisions: dict[str, str] = field(default_factory=dict)
    stack: list[str] = field(default_factory=list)
    log: list[tuple[str, str | None, str]] = field(default_factory=list)
    runs: list[Going] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    @property
    def production(self) -> str | None:
        return self.stack[-1] if self.stack else None

    def append(self, version: str, action: str) -> None:
        self.log.append((version, self.production, action))
        self.stack = [*self.stack, version] if action != "demote" else self.stack[:-1]
        self.events.append("model.demoted" if action == "demote" else "model.promoted")

    def status(self, version: str) -> str:
        if version == self.production:
            return "production"
        if version in [entry[0] for entry in self.log]:
            return "archived"
        return "rejected" if self.decisions[version] == "rejected" else "candidate"


def same(unit: UnitOfWork, name: str, truth: Truth) -> None:
    """Every repository tells what is true."""
    if truth.definition is None:
        with pytest.raises(errors.NotFound):
            unit.models.get(name)
    else:
        model = unit.models.get(name)
        assert (model.definition, model.production, model.versions) == (truth.definition, truth.production, len(truth.decisions))
    head, current = unit.promotions.production(name), unit.versions.production(name)
    assert [found and found.model_version_id for found in (head, current)] == [truth.production] * 2
    versions = unit.versions.list(name, limit=ALL, cursor=None).items
    told = [(found.model_version_id, found.version, found.status, found.validation.decision) for found in reversed(versions)]
    assert told == [(id, number, truth.status(id), truth.decisions[id]) for number, id in enumerate(truth.decisions, 1)]
    promotions = unit.promotions.list(name, limit=ALL, cursor=None).items
    log = [(found.sequence, found.model_version_id, found.previous_model_version_id, found.action) for found in reversed(promotions)]
    assert log == [(number, *entry) for number, entry in enumerate(truth.log, 1)]
    same_runs(unit, name, truth.runs)
    assert list(unit._connection.scalars(EVENTS, {"name": name})) == truth.events


def same_runs(unit: UnitOfWork, name: str, runs: list[Going]) -> None:
    names = ("id", "status", "attempt", "started_at", "finished_at")
    found = unit.runs.list(filters={"model_name": name}, limit=ALL, cursor=None).items
    assert [tuple(getattr(run, field) for field in names) for run in reversed(found)] == [
        tuple(asdict(run)[field] for field in names) for run in runs
    ]
    waiting = unit.runs.list(filters={"model_name": name, "status": "queued"}, limit=ALL, cursor=None).items
    assert [run.id for run in reversed(waiting)] == [run.id for run in runs if run.status == "queued"]
    for run in runs[-4:]:
        changes = unit.runs.history(run.id, limit=ALL, cursor=None).items
        assert [(change.status, change.attempt, change.at) for change in reversed(changes)] == run.history
        assert unit.runs.get(run.id).result == ({"a": 1} if run.status in ("succeeded", "failed", "cancelled") else None)
