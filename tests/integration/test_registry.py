"""The registries by themselves: logs that only grow, definitions, the life of a run, one transaction with its events."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from registries import START, events, queue, version

from mlsys import errors
from mlsys.events.signals import Signals
from mlsys.events.types import Event
from mlsys.execution.presence import LOCK_CLASS, Presence, new_owner
from mlsys.records import Blob, Dataset, KeptRows, Window
from mlsys.registry.production import Production
from mlsys.registry.unit_of_work import UnitOfWork, Units
from mlsys.storage.artifacts import FolderBlobs
from mlsys.storage.database import make_engine
from mlsys.testing import FrozenClock

OWNER, OTHER = 11, 22
WORKING = {
    *("run_state", "run_logs", "schedule_state", "webhook_state", "webhook_secrets", "deliveries", "delivery_attempts"),
    *("token_uses", "sessions"),
    *("event_cursors", "event_queue", "idempotency_keys", "leadership", "processes", "mlsys_revision"),
}
"""Tables that may change. Every other is a log."""


def test_logs__refuse_update_delete_and_truncate(engine: sa.Engine, units: Units, blobs: FolderBlobs, production: Production) -> None:
    production.promote("m", version(units, blobs), actor="me")
    two_files(units)
    one_prediction(units)
    tables = set(sa.inspect(engine).get_table_names())
    assert tables >= WORKING
    logs = sorted(tables - WORKING)
    assert {"models", "runs", "run_history", "model_versions", "promotions", "events", "schedules", "webhooks"} <= set(logs)
    for table in logs:
        column = sa.inspect(engine).get_columns(table)[-1]["name"]
        attacks = [
            f"UPDATE {table} SET {column} = {column}",
            f"DELETE FROM {table}",
            f"TRUNCATE {table} CASCADE",
            f"DELETE FROM {table} WHERE false",
        ]
        attacks.append(f"UPDATE {table} SET {column} = {column} WHERE false")
        for statement in attacks:
            with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
                connection.execute(sa.text(statement))


def two_files(units: Units) -> None:
    """A data set whose one file has replaced the other."""
    with units() as unit:
        unit.datasets.define(Dataset(name="d", timestamp="time"))
        ids = []
        for sha256 in ("a", "b"):
            at = unit.datasets.stamp("d")
            names = ("first_timestamp", "last_timestamp", "first_created_at", "last_created_at", "stamped_at", "added_at")
            instants = dict.fromkeys(names, at)
            ids.append(unit.datasets.add("d", sha256=sha256, size=1, rows=1, kind="appended", **instants))
        unit.datasets.replace("d", ids[:1], by=ids[1])
        unit.datasets.freed(ids[0])
        unit.commit()


def one_prediction(units: Units) -> None:
    """Kept rows of the model's version."""
    names = ("first_timestamp", "last_timestamp", "first_issued_at", "last_issued_at")
    kept = KeptRows(blob=Blob(sha256="a", size=1, uri="u"), rows=1, series_key=(), **dict.fromkeys(names, START))
    with units() as unit:
        made = unit.versions.list("m", limit=1, cursor=None).items[0]
        about = {"run_id": made.run_id, "model_name": "m", "model_version_id": made.model_version_id}
        step = Window(start=START, end=START + timedelta(days=1))
        assert unit.predictions.add(**about, source="backfill", kept=kept, step=step)
        assert not unit.predictions.add(**about, source="backfill", kept=kept, step=step)
        unit.commit()


def test_define__appends_only_what_changed(engine: sa.Engine, units: Units, clock: FrozenClock) -> None:
    appended = []
    for definition in ({"a": 1, "b": [1.5, None]}, {"b": [1.5, None], "a": 1}, {"a": 2}, {"a": 1, "b": [1.5, None]}):
        clock.advance(timedelta(hours=1))
        with units() as unit:
            appended.append(unit.models.define("m", definition))
            unit.commit()
    assert appended == [True, False, True, True]
    with units() as unit:
        model = unit.models.get("m")
    assert (model.created_at, model.updated_at) == (START + timedelta(hours=1), START + timedelta(hours=4))
    assert (model.definition, model.production, model.versions) == ({"a": 1, "b": [1.5, None]}, None, 0)


def test_define__at_once_from_many_appends_once(engine: sa.Engine, units: Units) -> None:
    def define(_: int) -> bool:
        with units() as unit:
            found = unit.models.define("m", {"a": 1})
            unit.commit()
            return found

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(define, range(16))) == 1


def test_run__one_of_many_claims_it(units: Units) -> None:
    id = queue(units)

    def claim(owner: int) -> bool:
        with units() as unit:
            found = unit.runs.claim(owner=owner, among=[id])
            unit.commit()
            return found is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(1, 17))) == 1
    assert claim(OWNER) is False


def test_run__its_life_is_kept_step_by_step(units: Units, engine: sa.Engine) -> None:
    id = queue(units)
    with units() as unit:
        run = unit.runs.claim(owner=OWNER, among=[id])
        assert run is not None
        assert (run.status, run.attempt, run.started_at) == ("running", 1, START)
        assert unit.runs.progress(id, {"step": "fit", "done": 1, "total": 2}, owner=OWNER, attempt=1)
        assert unit.runs.get(id).progress == {"step": "fit", "done": 1, "total": 2}
        assert unit.runs.crash(id, attempt=1, reason="power cut")
        assert unit.runs.get(id).error == {"kind": "crashed", "message": "power cut"}
        assert unit.runs.requeue(id, expected="crashed")
        again = unit.runs.get(id)
        assert (again.status, again.attempt, again.error, again.progress, again.started_at, again.finished_at) == (
            "queued",
            2,
            None,
            None,
            None,
            None,
        )
        assert unit.runs.claim(owner=OTHER, among=[id]) is not None
        assert unit.runs.finish(id, "succeeded", {"result": {"rows": 1}}, owner=OTHER, attempt=2)
        done = unit.runs.get(id)
        assert (done.status, done.attempt, done.result, done.error, done.finished, done.finished_at) == (
            "succeeded",
            2,
            {"rows": 1},
            None,
            True,
            START,
        )
        unit.commit()
    with units() as unit:
        history = unit.runs.history(id, limit=50, cursor=None).items
    assert [(change.status, change.attempt) for change in reversed(history)] == [
        ("queued", 1),
        ("running", 1),
        ("crashed", 1),
        ("queued", 2),
        ("running", 2),
        ("succeeded", 2),
    ]
    assert events(engine) == ["run.queued", "run.started", "run.crashed", "run.queued", "run.started", "run.succeeded"]


def test_run__a_stale_owner_writes_nothing(units: Units, engine: sa.Engine) -> None:
    id = queue(units)
    with units() as unit:
        unit.runs.claim(owner=OWNER, among=[id])
        unit.runs.crash(id, attempt=1, reason="it seemed dead")
        unit.runs.requeue(id, expected="crashed")
        unit.runs.claim(owner=OTHER, among=[id])
        unit.commit()
    before = events(engine)
    with units() as unit:
        assert not unit.runs.finish(id, "succeeded", {"result": {}}, owner=OWNER, attempt=1)
        assert not unit.runs.finish(id, "succeeded", {"result": {}}, owner=OTHER, attempt=1)
        assert not unit.runs.progress(id, {}, owner=OWNER, attempt=1)
        assert not unit.runs.crash(id, attempt=1, reason="late")
        assert not unit.runs.requeue(id, expected="running", owner=OWNER)
        unit.commit()
    assert events(engine) == before
    with units() as unit:
        assert (unit.runs.get(id).status, unit.runs.get(id).attempt) == ("running", 2)


def test_run__ends_once(units: Units) -> None:
    id = queue(units)
    with units() as unit:
        unit.runs.claim(owner=OWNER, among=[id])
        assert unit.runs.finish(id, "failed", {"error": {"kind": "bad", "message": "x"}}, owner=OWNER, attempt=1)
        assert not unit.runs.finish(id, "succeeded", {"result": {}}, owner=OWNER, attempt=1)
        assert not unit.runs.crash(id, attempt=1, reason="x")
        assert unit.runs.claim(owner=OWNER, among=[id]) is None
        unit.commit()


def test_unattended__are_runs_of_those_who_hold_no_lock(units: Units, engine: sa.Engine) -> None:
    alive = Presence(engine=engine, owner=new_owner(), lease_seconds=30)
    alive.assert_held()
    ids = {owner: queue(units) for owner in (alive.owner, OWNER)}
    queue(units)
    with units() as unit:
        for owner, id in ids.items():
            unit.runs.claim(owner=owner, among=[id])
        unit.commit()
    with units() as unit:
        found = unit.runs.unattended(alive=alive.alive(), owner=OTHER)
        assert [(run.id, run.attempt, own) for run, own in found] == [(ids[OWNER], 1, False)]
        found = unit.runs.unattended(alive=alive.alive(), owner=alive.owner)
        assert {(run.id, own) for run, own in found} == {(id, owner == alive.owner) for owner, id in ids.items()}
    alive.release()
    with units() as unit:
        assert len(unit.runs.unattended(alive=alive.alive(), owner=OTHER)) == 2


def test_presence__is_taken_again_after_its_connection_was_lost(engine: sa.Engine) -> None:
    presence = Presence(engine=engine, owner=new_owner(), lease_seconds=30)
    presence.beat()
    held = sa.text("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = :class AND objid = :owner AND granted")
    given = {"class": LOCK_CLASS, "owner": presence.owner}
    with engine.connect() as connection:
        (first,) = connection.scalars(held, given)
        connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": first})
        connection.rollback()
    presence.beat()
    with engine.connect() as connection:
        (second,) = connection.scalars(held, given)
    assert second != first
    presence.release()


def test_events__are_rolled_back_with_their_change_and_announced_after_the_commit(
    units: Units, engine: sa.Engine, signals: Signals
) -> None:
    heard: list[Event] = []

    def listen(sender: Any, *, event: Event) -> None:
        heard.append(event)

    signals.of("run.queued").connect(listen)
    with units() as unit:
        unit.runs.add(kind="train", model_name="m", trigger={"type": "api"}, spec={})
    assert (events(engine), heard) == ([], [])
    with pytest.raises(RuntimeError, match="half-way"):
        _add_then_raise(units)
    assert (events(engine), heard) == ([], [])
    with units() as unit:
        id = unit.runs.add(kind="train", model_name="m", trigger={"type": "api"}, spec={})
        assert heard == []
        unit.commit()
    assert events(engine) == ["run.queued"]
    assert [event.data["run_id"] for event in heard] == [id]


def _add_then_raise(units: Units) -> None:
    with units() as unit:
        unit.runs.add(kind="train", model_name="m", trigger={"type": "api"}, spec={})
        unit.events.append("model.created", {"a": 1})
        raise RuntimeError("half-way")


def test_events__a_listener_that_raises_harms_nobody(units: Units, signals: Signals) -> None:
    heard = []

    def raising(sender: Any, *, event: Event) -> None:
        heard.append(1)
        raise RuntimeError("a bad listener")

    def listening(sender: Any, *, event: Event) -> None:
        heard.append(2)

    signals.of("run.queued").connect(raising)
    signals.of("run.queued").connect(listening)
    queue(units)
    assert sorted(heard) == [1, 2]


def test_unit__a_lost_connection_is_unavailable_and_the_next_one_works(units: Units, engine: sa.Engine) -> None:
    with pytest.raises(errors.DatabaseUnavailable):
        _list_after_loss(units, engine)
    assert queue(units)


def _list_after_loss(units: Units, engine: sa.Engine) -> None:
    with units() as unit:
        pid = unit._connection.scalar(sa.text("SELECT pg_backend_pid()"))
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        unit.runs.list(filters={}, limit=1, cursor=None)


def test_unit__a_statement_that_takes_too_long_is_unavailable(database_url: str, clock: FrozenClock, signals: Signals) -> None:
    engine = make_engine(database_url, pool_size=1, statement_timeout_seconds=0.2)
    with pytest.raises(errors.DatabaseUnavailable) as refused, UnitOfWork(engine=engine, clock=clock, signals=signals) as unit:
        unit._connection.execute(sa.text("SELECT pg_sleep(5)"))
    assert "pg_sleep" not in str(refused.value)
    engine.dispose()
