"""The promotion log: walking back, one chain under races, tampering that shows; and the versions it tells of."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

import front
import pytest
import sqlalchemy as sa
from registries import START, broken_links, chain, current, events, outcome, queue, version

from mlsys import errors
from mlsys.records import Validation
from mlsys.registry.production import Production, lock
from mlsys.registry.promotions import digest
from mlsys.registry.unit_of_work import Units
from mlsys.storage.artifacts import FolderBlobs
from mlsys.testing import FrozenClock


def test_demote__walks_back_and_never_toggles(engine: sa.Engine, units: Units, blobs: FolderBlobs, production: Production) -> None:
    a, b, c, d = (version(units, blobs, word) for word in "abcd")
    for one in (a, b, c):
        production.promote("m", one, actor="me")
    assert [production.demote("m", actor="me").model_version_id for _ in range(2)] == [b, a]
    with pytest.raises(errors.Conflict, match="promote one by its id"):
        production.demote("m", actor="me")
    production.promote("m", d, actor="me")
    assert production.demote("m", actor="me").model_version_id == a
    with pytest.raises(errors.Conflict):
        production.demote("m", actor="me")
    assert [entry["action"] for entry in chain(engine)] == ["promote"] * 3 + ["demote"] * 2 + ["promote", "demote"]
    assert broken_links(chain(engine)) == []


def test_demote__after_a_demotion_and_a_promotion_goes_to_what_was_there(units: Units, blobs: FolderBlobs, production: Production) -> None:
    a, b, c, d = (version(units, blobs, word) for word in "abcd")
    for one in (a, b, c):
        production.promote("m", one, actor="me")
    production.demote("m", actor="me")  # b again
    production.promote("m", d, actor="me")
    assert [production.demote("m", actor="me").model_version_id for _ in range(2)] == [b, a]


def test_demote__a_version_that_came_back_is_passed_once_for_each_time(units: Units, blobs: FolderBlobs, production: Production) -> None:
    a, b = (version(units, blobs, word) for word in "ab")
    for one in (a, b, a):
        production.promote("m", one, actor="me")
    assert [production.demote("m", actor="me").model_version_id for _ in range(2)] == [b, a]
    with pytest.raises(errors.Conflict):
        production.demote("m", actor="me")


def test_demote__of_nothing_is_a_conflict(production: Production, engine: sa.Engine) -> None:
    with pytest.raises(errors.Conflict):
        production.demote("m", actor="me")
    assert chain(engine) == []


def test_promote__the_present_one_appends_nothing(engine: sa.Engine, units: Units, blobs: FolderBlobs, production: Production) -> None:
    a = version(units, blobs)
    first = production.promote("m", a, actor="me", reason="good")
    before = events(engine)
    assert production.promote("m", a, actor="you", reason="again") == first
    assert len(chain(engine)) == 1
    assert events(engine) == before


def test_promote__a_stale_expectation_is_refused(engine: sa.Engine, units: Units, blobs: FolderBlobs, production: Production) -> None:
    a, b = (version(units, blobs, word) for word in "ab")
    with pytest.raises(errors.StalePrecondition, match="no version"):
        production.promote("m", a, actor="me", expected_production=b)
    production.promote("m", a, actor="me")
    production.promote("m", b, actor="me", expected_production=a)
    for act in (partial(production.promote, "m", a), partial(production.demote, "m"), partial(production.promote, "m", b)):
        with pytest.raises(errors.StalePrecondition, match=b):
            act(actor="me", expected_production=a)
    assert len(chain(engine)) == 2
    assert production.demote("m", actor="me", expected_production=b).model_version_id == a


@pytest.mark.parametrize(("model", "id"), [("unknown", None), ("m", "nothing"), ("m", "other's")])
def test_promote__what_does_not_exist_is_named(
    units: Units, blobs: FolderBlobs, production: Production, model: str, id: str | None
) -> None:
    with units() as unit:
        unit.models.define("n", {"a": 1})
        unit.commit()
    others = version(units, blobs, model="n")
    with pytest.raises(errors.Invalid) as refused:
        production.promote(model, others if id == "other's" else id or version(units, blobs), actor="me")
    assert list(refused.value.fields) == ["model_name" if model == "unknown" else "model_version_id"]


def test_promote__a_damaged_artifact_is_refused(engine: sa.Engine, units: Units, blobs: FolderBlobs, production: Production) -> None:
    good, bad, gone = (version(units, blobs, word) for word in ("good", "bad", "gone"))
    production.promote("m", bad, actor="me")
    production.promote("m", good, actor="me")
    paths = {path.read_bytes(): path for path in blobs.folder.rglob("*") if path.is_file()}
    paths[b"bad"].write_bytes(b"worse")
    paths[b"gone"].unlink()
    for act in (partial(production.promote, "m", bad), partial(production.promote, "m", gone), partial(production.demote, "m")):
        before = events(engine)
        with pytest.raises(errors.DamagedArtifact):
            act(actor="me")
        assert (current(units), len(chain(engine)), events(engine)) == (good, 2, before)


def test_promote__fifty_at_once_leave_one_chain(engine: sa.Engine, units: Units, blobs: FolderBlobs, production: Production) -> None:
    ids = [version(units, blobs, str(number)) for number in range(10)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda number: production.promote("m", ids[number % 10], actor=f"thread {number}"), range(50)))
    entries = chain(engine)
    assert broken_links(entries) == []
    assert all(first["model_version_id"] != second["model_version_id"] for first, second in itertools.pairwise(entries))
    assert [entry["previous_model_version_id"] for entry in entries] == [None, *(entry["model_version_id"] for entry in entries[:-1])]
    assert {entry["model_version_id"] for entry in entries} == set(ids)
    assert events(engine).count("model.promoted") == len(entries)
    assert current(units) == entries[-1]["model_version_id"]


def test_promote__with_one_expectation_only_one_of_many_wins(units: Units, blobs: FolderBlobs, production: Production) -> None:
    first, *ids = [version(units, blobs, str(number)) for number in range(9)]
    production.promote("m", first, actor="me")

    def attempt(id: str) -> bool:
        try:
            production.promote("m", id, actor="me", expected_production=first)
        except errors.StalePrecondition:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, ids)) == 1


@pytest.mark.parametrize(
    "change", ["actor = 'another'", "model_version_id = :other", "reason = NULL", "created_at = created_at - interval '1 day'"]
)
def test_chain__shows_what_was_tampered_with(
    engine: sa.Engine, units: Units, blobs: FolderBlobs, production: Production, change: str
) -> None:
    a, b = (version(units, blobs, word) for word in "ab")
    for one in (a, b, a):
        production.promote("m", one, actor="me", reason="because")
    assert broken_links(chain(engine)) == []
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE promotions DISABLE TRIGGER append_only"))
        statement = sa.text(f"UPDATE promotions SET {change} WHERE sequence = 2")
        connection.execute(statement, {"other": a} if ":other" in change else {})
    assert broken_links(chain(engine)) == [2]


def test_chain__shows_an_entry_rewritten_with_its_hash(engine: sa.Engine, units: Units, blobs: FolderBlobs, production: Production) -> None:
    a, b = (version(units, blobs, word) for word in "ab")
    for one in (a, b, a):
        production.promote("m", one, actor="me")
    forged = dict(chain(engine)[1]) | {"actor": "another"}
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE promotions DISABLE TRIGGER append_only"))
        statement = sa.text("UPDATE promotions SET actor = 'another', hash = :hash WHERE sequence = 2")
        connection.execute(statement, {"hash": digest(forged)})
    assert broken_links(chain(engine)) == [3]


def test_production__at_an_instant_is_what_the_log_says(
    units: Units, blobs: FolderBlobs, production: Production, clock: FrozenClock
) -> None:
    a, b = (version(units, blobs, word) for word in "ab")
    hour = timedelta(hours=1)
    for one in (a, b):
        clock.advance(hour)
        production.promote("m", one, actor="me")
    clock.advance(hour)
    production.demote("m", actor="me")
    found = [current(units, START + number * hour + late) for number in range(4) for late in (timedelta(0), hour / 2)]
    assert found == [None, None, a, a, b, b, a, a]


def test_production__a_clock_that_goes_back_does_not_turn_the_log_around(
    engine: sa.Engine, units: Units, blobs: FolderBlobs, production: Production, clock: FrozenClock
) -> None:
    a, b = (version(units, blobs, word) for word in "ab")
    production.promote("m", a, actor="me")
    clock.advance(-timedelta(days=3))
    production.promote("m", b, actor="me")
    assert [entry["created_at"] for entry in chain(engine)] == [START, START]
    assert current(units, START) == b
    assert broken_links(chain(engine)) == []


def test_versions__status_is_derived_from_the_log(units: Units, blobs: FolderBlobs, production: Production) -> None:
    a, b, c, d = (
        version(units, blobs, word, decision=what)
        for word, what in zip("abcd", ["accepted", "rejected", "rejected", "cannot_judge"], strict=True)
    )
    production.promote("m", a, actor="me")
    production.promote("m", b, actor="me")
    with units() as unit:
        assert [unit.versions.get(one).status for one in (a, b, c, d)] == ["archived", "production", "rejected", "candidate"]


def test_versions__numbers_have_no_gaps_under_a_race(units: Units, blobs: FolderBlobs, production: Production) -> None:
    def attempt(number: int) -> None:
        if number % 3:
            version(units, blobs, str(number))
            return
        run = queue(units)
        with units() as unit:  # and one that rolls back after it took a number
            lock(unit, "m")
            unit.versions.add(
                model_name="m", run_id=run, spec={}, outcome=outcome(blobs.put(b"x")), validation=Validation(decision="accepted")
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(attempt, range(30)))
    with units() as unit:
        found = unit.versions.list("m", limit=200, cursor=None).items
    assert [one.version for one in found] == list(range(20, 0, -1))


def test_trainings__racing_have_numbers_without_gaps_and_one_chain(tmp_path: Path, database_url: str) -> None:
    models = {"naive": front.definition(model={"type": "seasonal_naive"}), "quick": front.definition()}
    with front.started(tmp_path, database_url, models, **{"execution.workers": 4}) as world:
        answers = [world.client.post("/job/train", json=front.TRAIN | {"end_date": f"2020-03-{10 + number % 5}"}) for number in range(8)]
        runs = [world.system.services.waiter.wait(answer.json["id"], seconds=60) for answer in answers if answer.json]
        assert [run.status for run in runs] == ["succeeded"] * 8
        assert sorted(run.result["version"] for run in runs if run.result) == list(range(1, 9))
        entries = chain(world.system.engine, "quick")
        assert broken_links(entries) == []
        assert entries
        told = events(world.system.engine)
        assert told.count("model.created") == 8
        assert told.count("model.promoted") == len(entries)
        assert told.count("run.succeeded") == 8
