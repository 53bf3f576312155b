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
    def serve(self, name: str, *, url: str | None = None) -> Iterator[Served]:
        shared = {"MLSYS_DATABASE__URL": self.url if url is None else url, "MLSYS_ARTIFACTS__URL": str(self.folder / "blobs")}
        with serving.serve(self.folder / name, config=self.config, data=self.folder, **shared) as found:
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
