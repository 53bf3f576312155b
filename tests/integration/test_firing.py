"""Schedules that come due: each firing is one run, what is missed is told with its reason, whatever the clock and the database do."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import front
import pytest
import schedules
import sqlalchemy as sa
from schedules import NOON, Timed
from serving import until

from mlsys import errors
from mlsys.registry.firings import FiringRepository
from mlsys.registry.unit_of_work import UnitOfWork
from mlsys.scheduling import declaring
from mlsys.scheduling.store import Store
from mlsys.storage import tables
from mlsys.testing import FrozenClock


@pytest.fixture
def database_url(embedded_server: Any) -> Iterator[str]:
    """On the embedded server alone: to SQL the two are one."""
    url = embedded_server.clone()
    yield url
    embedded_server.drop(url)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(NOON)


@pytest.fixture
def timed(tmp_path: Path, database_url: str, clock: FrozenClock) -> Iterator[Timed]:
    with schedules.started(tmp_path, database_url, clock=clock) as found:
        yield found


def test_firing__is_one_run_with_the_window_of_its_time(timed: Timed) -> None:
    timed.make("hourly", model_name="fitted", params={"seed": 5})
    timed.move(hours=1, seconds=10)
    (run,) = timed.runs("hourly")
    assert (run.kind, run.status, run.trigger) == (
        "train",
        "succeeded",
        {"type": "schedule", "schedule": "hourly", "fire_time": "2026-06-01T13:00:00Z"},
    )
    assert (run.spec["start_date"], run.spec["end_date"]) == ("2016-06-03T13:00:00Z", "2026-06-01T13:00:00Z")
    assert run.spec["params"] == {"seed": 5}
    timed.move(minutes=30)
    assert len(timed.runs("hourly")) == 1
    timed.move(minutes=30)
    assert timed.fired("hourly") == [("13:00", "succeeded"), ("14:00", "succeeded")]
    assert timed.missed() == []


def test_firing__of_twenty_schedules_in_one_second_with_two_workers_runs_all(timed: Timed) -> None:
    for number in range(20):
        timed.make(f"s{number}")
    timed.move(hours=1)
    assert [timed.fired(f"s{number}") for number in range(20)] == [[("13:00", "succeeded")]] * 20


def test_firing__of_a_backtest_and_of_a_backfill_carries_their_parameters(timed: Timed) -> None:
    timed.make("scores", kind="backtest", params={"step": "P2D", "refit": 7})
    timed.make("fills", kind="backfill", params={"step": "P1D"}, window={"start": "-P1D", "end": "PT0S"})
    timed.move(hours=1)
    (scored,) = timed.runs("scores")
    assert (scored.kind, scored.spec["step"], scored.spec["refit"]) == ("backtest", "P2D", 7)
    (filled,) = timed.runs("fills")
    assert filled.error is not None
    assert (filled.status, filled.error["kind"]) == ("failed", "invalid")
    assert "created_at" in filled.error["message"], "its source cannot tell what was known then"
    client = front.app_of(timed.system).test_client()
    assert client.post(f"/runs/{filled.id}/retry").status_code == 409


def test_firing__that_cannot_be_done_is_a_failed_run_which_can_be_asked_for_again(timed: Timed) -> None:
    timed.make("early", kind="predict", model_name="fitted", window={"start": "PT0S", "end": "P1D"})
    timed.make("train", model_name="fitted", cron="30 * * * *")
    timed.move(hours=1)
    (run,) = timed.runs("early")
    assert run.error is not None
    assert (run.status, run.error["kind"]) == ("failed", "conflict")
    assert "in production" in run.error["message"]
    client = front.app_of(timed.system).test_client()
    days = {"start_date": "2020-03-16", "end_date": "2020-03-17"}
    again = front.ended(client.post(f"/runs/{run.id}/retry", json=days, headers=front.WAIT))
    assert (again["status"], again["trigger"]) == ("succeeded", {"type": "api"})


def downtime(folder: Path, url: str, clock: FrozenClock, *, hours: float = 3.5, **changes: Any) -> Timed:
    """A schedule for every hour; mlsys is down for some, starts again, and is left as it then stands."""
    with schedules.started(folder, url, clock=clock) as first:
        first.make("hourly", **changes)
    clock.advance(timedelta(hours=hours))
    with schedules.started(folder, url, clock=clock) as second:
        second.settled()
    return second


@pytest.mark.parametrize(
    ("misfire", "fired"),
    [
        ("run_once", [("13:00", "coalesced"), ("14:00", "coalesced"), ("15:00", "succeeded")]),
        ("skip", [("13:00", "missed"), ("14:00", "missed"), ("15:00", "missed")]),
        ("run_all", [("13:00", "succeeded"), ("14:00", "succeeded"), ("15:00", "succeeded")]),
    ],
)
def test_downtime__leads_to_what_the_misfire_policy_says(
    tmp_path: Path, database_url: str, clock: FrozenClock, misfire: str, fired: list[tuple[str, str]]
) -> None:
    downtime(tmp_path, database_url, clock, misfire=misfire)
    with schedules.started(tmp_path, database_url, clock=clock) as timed:
        assert timed.fired("hourly") == fired
        skipped = [(at, why) for at, why in fired if why != "succeeded"]
        told = [(one["reason"], one["count"], one["first_fire_time"][11:16], one["last_fire_time"][11:16]) for one in timed.missed()]
        assert told == ([(skipped[0][1], len(skipped), skipped[0][0], skipped[-1][0])] if skipped else [])
        assert all(one["schedule"] == "hourly" and one["message"] for one in timed.missed())
        timed.move(minutes=30)
        assert timed.fired("hourly")[-1] == ("16:00", "succeeded")
        for run in timed.runs("hourly"):
            assert (run.status == "skipped") == (run.error is not None)


def test_missed__firing_can_be_made_up_for_by_hand(tmp_path: Path, database_url: str, clock: FrozenClock) -> None:
    downtime(tmp_path, database_url, clock, misfire="skip", model_name="fitted", params={"seed": 5})
    with schedules.started(tmp_path, database_url, clock=clock) as timed:
        missed = timed.runs("hourly")[0]
        client = front.app_of(timed.system).test_client()
        again = front.ended(client.post(f"/runs/{missed.id}/retry", headers=front.WAIT))
        assert (again["status"], again["trigger"]) == ("succeeded", {"type": "api"})
        assert {name: again["spec"][name] for name in missed.spec} == missed.spec
        assert again["spec"]["end_date"] == "2026-06-01T13:00:00Z"


@pytest.mark.parametrize("misfire", ["run_once", "skip"])
def test_downtime__of_less_than_the_grace_misses_nothing(tmp_path: Path, database_url: str, clock: FrozenClock, misfire: str) -> None:
    downtime(tmp_path, database_url, clock, hours=1 + 50 / 3600, misfire=misfire)
    with schedules.started(tmp_path, database_url, clock=clock) as timed:
        assert (timed.fired("hourly"), timed.missed()) == ([("13:00", "succeeded")], [])


def test_downtime__of_many_firings_is_recorded_in_several_rounds_and_runs_once(
    tmp_path: Path, database_url: str, clock: FrozenClock
) -> None:
    downtime(tmp_path, database_url, clock, hours=50.5, cron="* * * * *")
    with schedules.started(tmp_path, database_url, clock=clock) as timed, timed.system.engine.connect() as connection:
        query = sa.select(tables.run_state.c.status, sa.func.count()).group_by(tables.run_state.c.status)
        assert dict(connection.execute(query).all()) == {"skipped": 3029, "succeeded": 1}  # type: ignore[arg-type]
        assert sum(one["count"] for one in timed.missed()) == 3029
        assert len(timed.missed()) == 4


def hold(timed: Timed, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Trainings go on until the event is set."""
    gate, real = threading.Event(), timed.system.runner._handlers["train"]

    def slow(run: Any, reporter: Any) -> Any:
        assert gate.wait(30)
        return real(run, reporter)

    monkeypatch.setitem(timed.system.runner._handlers, "train", slow)  # type: ignore[arg-type]
    return gate


def test_overlap__is_skipped_with_the_reason_or_queued(timed: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = hold(timed, monkeypatch)
    timed.make("skips", overlap="skip")
    timed.make("queues", overlap="queue")
    for hour in range(1, 4):
        timed.clock.advance(timedelta(hours=1))
        until(lambda hour=hour: len(timed.runs("skips")) == len(timed.runs("queues")) == hour)
    gate.set()
    timed.settled()
    assert timed.fired("skips") == [("13:00", "succeeded"), ("14:00", "overlap"), ("15:00", "overlap")]
    assert timed.fired("queues") == [(f"{hour}:00", "succeeded") for hour in (13, 14, 15)]
    assert [(one["schedule"], one["reason"], one["count"]) for one in timed.missed()] == [("skips", "overlap", 1)] * 2
    timed.move(hours=1)
    assert timed.fired("skips")[-1] == ("16:00", "succeeded")


def test_overlap__queued_runs_of_one_schedule_go_one_after_another(timed: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    going, most, lock = list[str](), set[int](), threading.Lock()

    def slow(run: Any, reporter: Any) -> Any:
        with lock:
            going.append(run.trigger["schedule"])
            most.add(len(going))
        assert len(going) == len(set(going))
        threading.Event().wait(0.3)
        with lock:
            going.remove(run.trigger["schedule"])
        return lambda unit: {}

    monkeypatch.setitem(timed.system.runner._handlers, "backtest", slow)  # type: ignore[arg-type]
    for name in ("one", "two"):
        timed.make(name, kind="backtest", params={"step": "P2D"}, overlap="queue", misfire="run_all")
    timed.move(hours=3)
    for name in ("one", "two"):
        assert timed.fired(name) == [(f"{hour}:00", "succeeded") for hour in (13, 14, 15)]
    assert max(most) == 2, "the two schedules do not wait for one another"


def test_clock__an_hour_forward_and_back_fires_each_time_once(timed: Timed) -> None:
    timed.make("often", cron="*/15 * * * *", misfire="run_all")
    timed.move(minutes=15, seconds=1)
    timed.move(hours=1)
    times = [f"12:{minute}" for minute in (15, 30, 45)] + ["13:00", "13:15"]
    assert timed.fired("often") == [(at, "succeeded") for at in times]
    timed.move(hours=-1)
    timed.move(minutes=20)
    assert timed.fired("often") == [(at, "succeeded") for at in times], "what has fired does not fire again"
    timed.move(minutes=55)
    assert [at for at, _ in timed.fired("often")] == [*times, "13:30"]


def test_pause__fires_nothing_and_tells_of_what_was_due_and_not_recorded(timed: Timed) -> None:
    timed.make("pausing")
    client = front.app_of(timed.system).test_client()
    timed.system.scheduler.stop()
    timed.clock.advance(timedelta(hours=2))
    assert client.post("/schedules/pausing/pause").status_code == 200
    timed.system.scheduler.start()
    timed.move(hours=3)
    assert timed.fired("pausing") == [("13:00", "stopped"), ("14:00", "stopped")]
    client.post("/schedules/pausing/resume")
    timed.move(hours=1)
    assert [at for at, why in timed.fired("pausing") if why == "succeeded"] == ["18:00"]


def test_change__of_its_times_loses_nothing_that_was_due(timed: Timed) -> None:
    timed.make("changing")
    client = front.app_of(timed.system).test_client()
    timed.system.scheduler.stop()
    timed.clock.advance(timedelta(hours=1, seconds=10))
    answer = client.put("/schedules/changing", json={**schedules.TRAIN, "cron": "30 * * * *"})
    assert answer.json is not None
    assert answer.json["next_fire_times"][0] == "2026-06-01T13:30:00Z"
    timed.system.recovery.sweep()
    timed.settled()
    assert timed.fired("changing") == [("13:00", "succeeded")]
    timed.system.scheduler.start()
    timed.move(minutes=30)
    assert timed.fired("changing") == [("13:00", "succeeded"), ("13:30", "succeeded")]


def test_declared__schedules_come_back_with_tables_that_are_made_anew(timed: Timed) -> None:
    timed.system.services.schedules._declared = {"s": declaring.read("s", {**schedules.TRAIN, "cron": "@hourly"})}
    timed.system.services.schedules.reconcile()
    client = front.app_of(timed.system).test_client()
    assert client.get("/migrate/?version=000&direction=down&force=true").status_code == 200
    assert client.get("/migrate/").status_code == 200
    timed.move(hours=1)
    until(lambda: timed.fired("s") == [("13:00", "succeeded")])


# -- faults ----------------------------------------------------------------------------------------------------------------------------


def test_database__error_in_the_middle_of_a_firing_loses_nothing(timed: Timed, monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    """The session is ended after the runs have been written and before the commit; later the answer to a commit is lost."""
    timed.make("hourly")
    real, hits = FiringRepository.record, []

    def struck(self: FiringRepository, runs: Any) -> Any:
        found = real(self, runs)
        if len(hits) < 3:
            hits.append(len(found))
            pid = self._connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
            with sa.create_engine(database_url, poolclass=sa.NullPool).connect() as other:
                other.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        return found

    monkeypatch.setattr(FiringRepository, "record", struck)
    timed.move(hours=1)
    assert hits == [1, 1, 1]
    assert timed.fired("hourly") == [("13:00", "succeeded")]
    assert timed.system.services.health()["checks"]["threads"]["restarts"] == {}


def test_commit__whose_answer_is_lost_fires_once(timed: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    timed.make("hourly")
    real, lost = UnitOfWork.commit, []

    def forgetful(self: UnitOfWork) -> None:
        real(self)
        if threading.current_thread().name == "APScheduler" and not lost:
            lost.append(True)
            raise errors.DatabaseUnavailable("the connection broke after the commit")

    monkeypatch.setattr(UnitOfWork, "commit", forgetful)
    timed.clock.advance(timedelta(hours=1))
    until(lambda: lost)
    timed.system.recovery.sweep()
    timed.settled()
    assert timed.fired("hourly") == [("13:00", "succeeded")]


def test_standby__fires_nothing_and_its_schedules_fire_in_the_leader(tmp_path: Path, database_url: str, clock: FrozenClock) -> None:
    with (
        schedules.started(tmp_path, database_url, clock=clock) as first,
        schedules.started(tmp_path, database_url, clock=clock) as second,
    ):
        assert [one.system.services.health()["checks"]["scheduler"]["role"] for one in (first, second)] == ["leader", "standby"]
        second.make("made-elsewhere")
        first.move(hours=1)
        assert first.fired("made-elsewhere") == [("13:00", "succeeded")]
        first.system.leader.stop()
        until(lambda: second.system.scheduler.health()["role"] == "leader")
        second.move(hours=1)
        assert second.fired("made-elsewhere") == [("13:00", "succeeded"), ("14:00", "succeeded")]


def test_epoch__a_firing_of_a_leader_that_was_replaced_is_refused(timed: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The leader reads what is due, stands still, and another leads by the time it writes."""
    timed.make("hourly")
    real, stale = Store._write, []

    def late(self: Store) -> None:
        if not stale and self._due:
            stale.append(timed.system.leader.epoch)
            with timed.system.engine.begin() as connection:
                connection.execute(sa.text("UPDATE leadership SET epoch = epoch + 1"))
        real(self)
        assert timed.runs("hourly") == [] or timed.system.leader.epoch not in stale

    monkeypatch.setattr(Store, "_write", late)
    timed.clock.advance(timedelta(hours=1))
    until(lambda: stale)
    until(lambda: timed.system.leader.epoch not in (None, *stale))
    timed.settled()
    assert timed.fired("hourly") == [("13:00", "succeeded")]
