"""Schedules under faults, with real processes: leaders killed and frozen, deaths in the middle of a firing, a database that goes away."""

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import front
import matrix
import pytest
import serving
import sqlalchemy as sa
from proxy import Proxy
from serving import Served, until

from mlsys import bootstrap, config, crashing
from mlsys.scheduling import declaring
from mlsys.storage.embedded import EmbeddedPostgres

WITHIN = 10  # seconds in which another leads
SCHEDULE = {"kind": "train", "model_name": "quick", "cron": "0 0 1 1 *", "window": {"start": "-P3650D", "end": "PT0S"}}
FIRINGS = "SELECT trigger ->> 'schedule', status FROM runs JOIN run_state ON run_id = id WHERE trigger ->> 'type' = 'schedule'"


class Place:
    """A database that several servers share, their configuration and data."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.engine = sa.create_engine(url, poolclass=sa.NullPool)
        front.hourly().to_parquet(folder / "hourly.parquet")
        model = front.definition(checks={"completeness": False}, model={"type": "seasonal_naive"})
        self.config = front.configure(folder, {"quick": model})

    @contextlib.contextmanager
    def serve(self, name: str, *, url: str | None = None, **more: str) -> Iterator[Served]:
        shared = {"MLSYS_DATABASE__URL": self.url if url is None else url, "MLSYS_ARTIFACTS__URL": str(self.folder / "blobs")}
        with serving.serve(self.folder / name, config=self.config, data=self.folder, **shared, **more) as found:
            yield found

    def make(self, served: Served, *names: str) -> None:
        for name in names:
            answer = served.call("POST", "/schedules", {"name": name, **SCHEDULE})
            assert answer.status == 201, answer.body

    def due(self, *, seconds: float = 1) -> None:
        """All schedules come due in that time."""
        with self.engine.begin() as connection:
            statement = "UPDATE schedule_state SET next_fire_time = clock_timestamp() + make_interval(secs => :seconds)"
            connection.execute(sa.text(statement), {"seconds": seconds})

    def fired(self) -> Counter[str]:
        """How often each schedule has fired."""
        with self.engine.connect() as connection:
            return Counter(row[0] for row in connection.execute(sa.text(FIRINGS)))

    def unfinished(self) -> int:
        with self.engine.connect() as connection:
            return sum(row[1] not in ("succeeded", "skipped") for row in connection.execute(sa.text(FIRINGS)))


@pytest.fixture
def place(embedded_server: Any, tmp_path: Path) -> Iterator[Place]:
    url = embedded_server.clone()
    yield Place(tmp_path, url)
    embedded_server.drop(url)


def role(served: Served) -> str:
    found: str = served.call("GET", "/health/").body["checks"]["scheduler"]["role"]
    return found


def leader_of(servers: list[Served]) -> Served | None:
    leaders = [one for one in servers if role(one) == "leader"]
    assert len(leaders) <= 1
    return leaders[0] if leaders else None


def test_four_servers__fire_once_whoever_leads_dies_or_stands_still(place: Place) -> None:
    names = [f"s{number}" for number in range(20)]
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(place.serve(f"home{number}")) for number in range(4)]
        first = leader_of(servers)
        assert first is not None
        standby = next(one for one in servers if one is not first)
        place.make(standby, *names)
        place.due()
        until(lambda: place.fired() == Counter(names))
        until(lambda: place.unfinished() == 0, 60)

        place.due(seconds=1)
        first.kill()
        servers.remove(first)
        second = until(lambda: leader_of(servers), WITHIN)
        until(lambda: place.fired() == Counter(names * 2))

        second.process.send_signal(signal.SIGSTOP)
        place.due(seconds=1)
        third = until(lambda: leader_of([one for one in servers if one is not second]), 2 * WITHIN)  # its lease has to run out
        until(lambda: place.fired() == Counter(names * 3))
        second.process.send_signal(signal.SIGCONT)
        until(lambda: role(second) == "standby")
        assert leader_of(servers) is third
        place.due(seconds=1)
        until(lambda: place.fired() == Counter(names * 4))
        until(lambda: place.unfinished() == 0, 60)
        time.sleep(1.5)
        assert place.fired() == Counter(names * 4)
        matrix.note("leader killed, then the next one frozen, beside two more", "20 schedules fired once each time, whoever led")
        for one in servers:
            assert one.call("GET", "/schedules/s0").status == 200
            assert "Traceback" not in one.log.read_text()


def test_two_servers__on_one_embedded_home_lead_in_turn(tmp_path: Path) -> None:
    place = Place(tmp_path, EmbeddedPostgres(home=tmp_path / "home").url)
    with place.serve("home", url="") as first, place.serve("home", url="") as second:
        assert [role(first), role(second)] == ["leader", "standby"]
        place.make(second, "s")
        first.kill()  # and with it the database server, which the other starts anew
        until(lambda: second.call("GET", "/health/").body["checks"]["scheduler"].get("role") == "leader", WITHIN)
        place.due()
        until(lambda: place.fired() == Counter("s") and place.unfinished() == 0)
        assert second.terminate() == 0


def struck(place: Place, point: str) -> None:
    """A server that dies at that point of the first firing that it sees."""
    shared = {"MLSYS_DATABASE__URL": place.url, "MLSYS_ARTIFACTS__URL": str(place.folder / "blobs"), "MLSYS_CRASH_POINT": point}
    words = serving.command("serve", "--home", place.folder / "struck", "--config", place.config, "--port", "0")
    environment = serving.environment(place.folder, **shared)
    ended = subprocess.run(words, env=environment, cwd=place.folder, capture_output=True, timeout=60, check=False)
    assert ended.returncode == crashing.STATUS, ended.stderr.decode()


def test_kill__in_the_middle_of_a_firing_fires_once(place: Place) -> None:
    """One server after the other dies of the same firing, each a step later than the one before."""
    system = bootstrap.build(config.load(place.config, environ={}, overrides={"home": str(place.folder), "database.url": place.url}))
    system.services.schema.move("up")
    system.services.schedules.create(declaring.read("s", SCHEDULE))
    system.stop()
    place.due(seconds=0)
    for point in ("firing due", "firing recorded"):
        struck(place, point)
        assert place.fired() == Counter()
    struck(place, "firing committed")
    assert place.fired() == Counter("s")
    with place.serve("last") as served:
        until(lambda: place.unfinished() == 0)
        time.sleep(1.5)
        assert place.fired() == Counter("s")
        assert served.call("GET", "/schedules/s").body["last_fire_time"] is not None
    matrix.note("kill -9 before, within and after the recording of a firing", "fired once, the run succeeded")


@pytest.mark.parametrize("fault", ["cut", "hang"])
def test_database__that_goes_away_for_seconds_loses_no_firing(place: Place, fault: str) -> None:
    names = [f"s{number}" for number in range(5)]
    with Proxy(place.url) as line, place.serve("home", url=line.url) as served:
        place.make(served, *names)
        place.due(seconds=1)
        getattr(line, fault)()
        time.sleep(4)
        assert place.fired() == Counter()
        line.mend()
        until(lambda: place.fired() == Counter(names), 20)
        until(lambda: place.unfinished() == 0, 30)
        place.due(seconds=0)
        until(lambda: place.fired() == Counter(names * 2), 20)
        until(lambda: served.call("GET", "/health/").body["checks"]["scheduler"]["status"] == "ok")
        assert os.path.exists(f"/proc/{served.process.pid}")
    matrix.note(f"database {'cut' if fault == 'cut' else 'silent'} for 4 s while 5 firings come due", "each fired once, all succeeded")


STRIKE = """
CREATE SEQUENCE strikes;
CREATE FUNCTION strike() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE number bigint;
BEGIN
    IF NEW.trigger ->> 'type' = 'schedule' THEN
        number := nextval('strikes');  -- not undone with the transaction
        IF number = 1 THEN RAISE EXCEPTION 'struck' USING ERRCODE = 'io_error'; END IF;
        IF number = 2 THEN RAISE EXCEPTION 'struck' USING ERRCODE = 'serialization_failure'; END IF;
        IF number = 3 THEN RAISE EXCEPTION 'struck' USING ERRCODE = 'disk_full'; END IF;
        IF number = 4 THEN RAISE EXCEPTION 'struck' USING ERRCODE = 'internal_error'; END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER strike BEFORE INSERT ON runs FOR EACH ROW EXECUTE FUNCTION strike()
"""


def test_database__that_fails_exactly_during_a_firing_or_loses_the_answer_to_its_commit_fires_once(place: Place) -> None:
    with Proxy(place.url) as line, place.serve("home", url=line.url) as served:
        place.make(served, "s")
        with place.engine.begin() as connection:
            connection.exec_driver_sql(STRIKE)
        place.due(seconds=0)
        until(lambda: place.fired() == Counter("s"))
        with place.engine.begin() as connection:
            assert connection.scalar(sa.text("SELECT last_value FROM strikes")) == 5, "four times it failed"
        matrix.note("four errors of the database exactly during a firing", "fired once, by the fifth round")
        with line.swallowing(b"jsonb_to_recordset") as swallowed:
            place.due(seconds=0)
            assert swallowed.wait(20)
        until(lambda: place.fired() == Counter("ss") and place.unfinished() == 0)
        time.sleep(1.5)
        assert place.fired() == Counter("ss")
        checks = until(lambda: (found := served.call("GET", "/health/")).body["status"] == "ok" and found.body["checks"])
        assert checks["threads"]["restarts"] == {}
        matrix.note("the answer to the commit of a firing lost", "fired once, the run succeeded")


def test_clock__set_an_hour_ahead_and_back_fires_what_it_passes_once(place: Place) -> None:
    """The hour from now on passes in an instant, then comes again, as does the hour before."""
    shift = place.folder / "shift"
    half = 1800 - time.time() % 3600
    shift.write_text(str(half))  # in the middle of an hour to begin with
    paths = os.pathsep.join(map(str, (Path(__file__).parent / "shifted", serving.REPOSITORY)))
    with place.serve("home", PYTHONPATH=paths, SHIFT=str(shift)) as served:
        answer = served.call("POST", "/schedules", {"name": "s", **SCHEDULE, "cron": "0 * * * *"})
        due = answer.body["next_fire_times"][0]
        shift.write_text(str(half + 3600))
        until(lambda: place.fired() == Counter("s") and place.unfinished() == 0)
        for seconds in (0, -3600):
            shift.write_text(str(half + seconds))
            time.sleep(2)
            assert place.fired() == Counter("s"), "that hour has had its firing"
            assert served.run("/job/train", front.TRAIN)["status"] == "succeeded"
            assert served.call("GET", "/schedules/s").body["last_fire_time"] == due
        shift.write_text(str(half + 7200))
        until(lambda: place.fired() == Counter("ss") and place.unfinished() == 0)
        until(lambda: served.call("GET", "/health/").body["status"] == "ok")
    matrix.note("clock set an hour ahead, then two hours back, then ahead", "each hour's firing once, jobs run all the while")
