"""The whole registry against a simple model in memory: whatever happens, in any order, both tell the same of now and of each instant."""

import copy
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from registries import START, broken_links, chain, queue, version
from truth import Going, Truth, same

from mlsys import errors
from mlsys.events.signals import Signals
from mlsys.registry.production import Production
from mlsys.registry.unit_of_work import UnitOfWork
from mlsys.storage.artifacts import FolderBlobs
from mlsys.storage.database import make_engine
from mlsys.testing import FrozenClock

QUICKLY = settings(
    max_examples=15, stateful_step_count=25, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
PICK = st.integers(0, 999)  # which of those there are: modulo
EXPECTATIONS = st.sampled_from(["none", "right", "none", "wrong"])
OWNERS = st.sampled_from(["right", "none", "wrong"])
NAMES = count()


class Registry(RuleBasedStateMachine):
    """One model of its own name in a database that all examples share."""

    def __init__(self, *, engine: sa.Engine, blobs: FolderBlobs) -> None:
        super().__init__()
        self.engine, self.blobs, self.name = engine, blobs, f"model_{next(NAMES)}"
        self.clock, self.truth = FrozenClock(START), Truth()
        self.units = partial(UnitOfWork, engine=engine, clock=self.clock, signals=Signals())
        self.production = Production(units=self.units, blobs=blobs)
        self.past = [(START - timedelta(days=1), Truth())]

    def now(self) -> None:
        """What is true at this instant is what was true at its end."""
        if self.past[-1][0] == self.clock.now():
            self.past.pop()
        self.past.append((self.clock.now(), copy.deepcopy(self.truth)))

    @initialize(promoted=st.integers(0, 4), attempts=st.integers(0, 3))
    def begin(self, promoted: int, attempts: int) -> None:
        """Somewhere in a life, so that what needs a past is met often."""
        self.define(0)
        for number in range(promoted):
            self.time_passes(number)
            self.add_version("accepted")
            self.promote(number, "none")
        for _ in range(attempts):
            self.queue_run()
            self.claim(0, 1)
            self.crash(0, False)
            self.requeue(0, "crashed", "none")
            self.claim(0, 2)

    @rule(microseconds=st.sampled_from([1, 2, 1_000_000, 86_400_000_000]))
    def time_passes(self, microseconds: int) -> None:
        self.clock.advance(timedelta(microseconds=microseconds))

    @rule(number=st.integers(0, 2))
    def define(self, number: int) -> None:
        definition = {"number": number}
        with self.units() as unit:
            assert unit.models.define(self.name, definition) == (definition != self.truth.definition)
            unit.commit()
        self.truth.definition = definition

    @rule()
    def queue_run(self) -> None:
        self.queued(queue(self.units, self.name))

    def queued(self, id: str) -> None:
        self.truth.runs.append(Going(id))
        self.move(self.truth.runs[-1], "queued")

    def move(self, run: Going, status: str) -> None:
        run.move(status, self.clock.now())
        self.truth.events.append(f"run.{'started' if status == 'running' else status}")

    @rule(decision=st.sampled_from(["accepted", "rejected", "cannot_judge"]))
    def add_version(self, decision: str) -> None:
        id = version(self.units, self.blobs, "model", model=self.name, decision=decision)
        with self.units() as unit:
            self.queued(unit.versions.get(id).run_id)
        self.truth.decisions[id] = decision

    def expected(self, expectation: str) -> str | None:
        return {"none": None, "right": self.truth.production, "wrong": "another"}[expectation]

    @precondition(lambda self: self.truth.decisions)
    @rule(pick=PICK, expectation=EXPECTATIONS)
    def promote(self, pick: int, expectation: str) -> None:
        id = list(self.truth.decisions)[pick % len(self.truth.decisions)]
        act = partial(self.production.promote, self.name, id, actor="me", expected_production=self.expected(expectation))
        if expectation == "wrong":
            with pytest.raises(errors.StalePrecondition):
                act()
            return
        assert act().model_version_id == id
        if id != self.truth.production:
            self.truth.append(id, "promote")

    @rule(expectation=EXPECTATIONS, times=st.integers(1, 3))
    def demote_more(self, expectation: str, times: int) -> None:
        for _ in range(times):
            self.demote(expectation)

    def demote(self, expectation: str) -> None:
        act = partial(self.production.demote, self.name, actor="me", expected_production=self.expected(expectation))
        if expectation == "wrong" or len(self.truth.stack) < 2:
            with pytest.raises(errors.StalePrecondition if expectation == "wrong" else errors.Conflict):
                act()
            return
        assert act().model_version_id == self.truth.stack[-2]
        self.truth.append(self.truth.stack[-2], "demote")

    def run(self, pick: int, status: str) -> Going:
        """Nearly always one that stands like this."""
        fitting = [run for run in self.truth.runs if run.status == status and pick % 8 != 7]
        return (fitting or self.truth.runs)[-1 - pick % len(fitting or self.truth.runs)]

    @staticmethod
    def owner(run: Going, which: str) -> int | None:
        return {"right": run.owner, "none": None, "wrong": 3}[which]

    @precondition(lambda self: self.truth.runs)
    @rule(pick=PICK, owner=st.integers(1, 2))
    def claim(self, pick: int, owner: int) -> None:
        run = self.run(pick, "queued")
        with self.units() as unit:
            claimed = unit.runs.claim(owner=owner, among=[run.id])
            unit.commit()
        assert (claimed is not None) == (run.status == "queued")
        if claimed:
            self.move(run, "running")
            run.owner = owner

    @precondition(lambda self: self.truth.runs)
    @rule(pick=PICK, status=st.sampled_from(["succeeded", "failed", "cancelled"]), wrong=st.booleans(), stale=st.booleans())
    def finish(self, pick: int, status: str, wrong: bool, stale: bool) -> None:
        run = self.run(pick, "running")
        owner = 3 if wrong and not stale else run.owner or 3
        with self.units() as unit:
            done = unit.runs.finish(run.id, status, {"result": {"a": 1}}, owner=owner, attempt=run.attempt - stale)
            unit.commit()
        assert done == (run.status == "running" and run.owner == owner and not stale)
        if done:
            self.move(run, status)

    @precondition(lambda self: self.truth.runs)
    @rule(pick=PICK, stale=st.booleans())
    def crash(self, pick: int, stale: bool) -> None:
        run = self.run(pick, "running")
        with self.units() as unit:
            done = unit.runs.crash(run.id, attempt=run.attempt - stale, reason="killed")
            unit.commit()
        assert done == (run.status == "running" and not stale)
        if done:
            self.move(run, "crashed")

    @precondition(lambda self: self.truth.runs)
    @rule(pick=PICK, expected=st.sampled_from(["crashed", "running"]), which=OWNERS)
    def requeue(self, pick: int, expected: str, which: str) -> None:
        run = self.run(pick, expected)
        owner = self.owner(run, which)
        with self.units() as unit:
            done = unit.runs.requeue(run.id, expected=expected, owner=owner)
            unit.commit()
        assert done == (run.status == expected and owner in (None, run.owner))
        if done:
            self.move(run, "queued")

    @precondition(lambda self: self.truth.decisions)
    @rule(pick=PICK)
    def abandon(self, pick: int) -> None:
        """A unit that does a lot, and is left before its commit."""
        id = list(self.truth.decisions)[pick % len(self.truth.decisions)]
        with self.units() as unit:
            unit.lock_model(self.name)
            unit.models.define(self.name, {"never": True})
            unit.promotions.promote(self.name, id, action="auto", actor="gate", reason=None)
            unit.runs.add(kind="train", model_name=self.name, trigger={"type": "api"}, spec={})
            unit.runs.claim(owner=3, among=[self.run(pick, "queued").id])

    @invariant()
    def the_present_is_as_it_should_be(self) -> None:
        self.now()
        with self.units() as unit:
            same(unit, self.name, self.truth)
        assert broken_links(chain(self.engine, self.name)) == []

    @rule(pick=PICK, later=st.sampled_from([timedelta(0), timedelta(microseconds=1)]))
    def look_back(self, pick: int, later: timedelta) -> None:
        place = pick % len(self.past)
        at, truth = self.past[place]
        if place + 1 < len(self.past) and at + later >= self.past[place + 1][0]:
            later = timedelta(0)
        with self.units(as_of=at + later) as unit:
            same(unit, self.name, truth)

    def teardown(self) -> None:
        """In the end, every instant at which something happened."""
        with self.units() as unit:
            found = unit.promotions.production_at(self.name, [at for at, _ in self.past])
            assert found == [truth.production for _, truth in self.past]
            for at, truth in self.past:
                entry = unit.promotions.production(self.name, at=at)
                assert (entry.model_version_id if entry else None) == truth.production
        for at, truth in self.past:
            with self.units(as_of=at) as unit:
                same(unit, self.name, truth)


@pytest.fixture(scope="module")
def shared(embedded_server: Any) -> Iterator[sa.Engine]:
    url = embedded_server.clone()
    engine = make_engine(url, pool_size=2, statement_timeout_seconds=30)
    yield engine
    engine.dispose()
    embedded_server.drop(url)


def test_registry__is_as_a_simple_model_of_it(shared: sa.Engine, tmp_path: Path) -> None:
    def machine() -> Registry:
        return Registry(engine=shared, blobs=FolderBlobs(folder=tmp_path))

    run_state_machine_as_test(machine, settings=QUICKLY)  # type: ignore[arg-type]  # any maker of machines will do
