"""Faults, injected for real into a server with a database of its own; what became of the run goes into the matrix."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import front
import matrix
import plugins
import pytest
import serving
import sqlalchemy as sa
from front import TRAIN, World
from holding import history, run_of, until
from proxy import Proxy
from registries import events
from serving import Served

from mlsys.clock import SystemClock
from mlsys.crashing import STATUS, VARIABLE
from mlsys.events.signals import Signals
from mlsys.registry.unit_of_work import UnitOfWork
from mlsys.storage.embedded import EmbeddedPostgres

MODELS = {"quick": front.definition()}
LONG = {"num_iterations": 3000, "num_leaves": 15}
POINTS = ("claimed", "read done", "fit final model on", "store done", "before commit", "after commit")


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A PostgreSQL that may be stopped, and a folder with data and configuration."""

    database: EmbeddedPostgres
    folder: Path

    def execute(self, statement: str) -> None:
        engine = sa.create_engine(self.database.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.execute(sa.text(statement))


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("faults")
    front.hourly().to_parquet(folder / "hourly.parquet")
    front.configure(folder, MODELS)
    database = EmbeddedPostgres(home=tmp_path_factory.mktemp("ground"))
    database.start()
    yield Ground(database=database, folder=folder)
    database.stop()


@pytest.fixture
def url(ground: Ground) -> Iterator[str]:
    """An empty database."""
    name = f"faults_{time.monotonic_ns()}"
    ground.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield sa.make_url(ground.database.url).set(database=name).render_as_string(hide_password=False)
    ground.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def serve(ground: Ground, home: Path, url: str, **more: str) -> Iterator[Served]:
    with serving.serve(home, config=ground.folder / "config.yaml", data=ground.folder, MLSYS_DATABASE__URL=url, **more) as served:
        yield served


@contextmanager
def looking(ground: Ground, folder: Path, url: str) -> Iterator[World]:
    """Another process on the same database and home, as it comes after a crash."""
    system = front.unstarted(folder, MODELS, **{"database.url": url, "data.roots": [str(ground.folder)]})
    system.start()
    try:
        yield World(system=system, client=front.app_of(system).test_client(), data=ground.folder, home=folder / "home")
    finally:
        system.stop()


def told(world: World, fault: str, id: str) -> tuple[str, int, int]:
    """How a run ended, in which attempt, and how many versions there are of it: one if it succeeded, else none."""
    until(lambda: run_of(world, id).finished, 60)
    run = run_of(world, id)
    versions = world.client.get("/models/quick/versions").json["items"]  # type: ignore[index]
    made = [version for version in versions if version["run_id"] == id]
    matrix.note(
        fault, f"the run {run.status} in attempt {run.attempt}, versions of it: {len(made)}; nothing left running, the server serves"
    )
    assert len(made) == (run.status == "succeeded")
    with world.system.engine.connect() as connection:
        going = sa.text("SELECT count(*) FROM run_state WHERE status IN ('running', 'cancelling')")
        assert connection.execute(going).scalar_one() == 0, "nothing stays running"
    assert events(world.system.engine).count("run.succeeded") == len(versions)
    assert front.train(world.client, promote="never")["status"] == "succeeded", "the server serves"
    return run.status, run.attempt, len(made)


@pytest.mark.parametrize("point", POINTS)
def test_kill__at_each_point_of_a_run_has_its_effect_once(ground: Ground, tmp_path: Path, url: str, point: str) -> None:
    with serve(ground, tmp_path / "home", url, **{VARIABLE: point}) as served:
        id = served.call("POST", "/job/train", TRAIN).body["id"]
        assert served.process.wait(60) == STATUS
    with looking(ground, tmp_path, url) as world:
        attempt = 1 if point == "after commit" else 2
        assert told(world, f"kill -9: {point}", id) == ("succeeded", attempt, 1)
        states = [status for status, number in history(world, id) if number == 1]
        assert states == ["queued", "running", "succeeded" if attempt == 1 else "crashed"]


def running(served: Served, **changes: Any) -> str:
    id: str = served.call("POST", "/job/train", TRAIN | {"params": LONG} | changes).body["id"]
    serving.until(lambda: (served.call("GET", f"/runs/{id}").body.get("progress") or {}).get("step", "").startswith("fit"), 60)
    return id


def test_database__cut_or_restarted_in_the_middle_of_a_run_and_commits_whose_answer_is_lost(
    ground: Ground, tmp_path: Path, url: str
) -> None:
    with Proxy(url) as proxy, serve(ground, tmp_path / "home", proxy.url) as served:
        cut = running(served)
        proxy.cut()
        assert served.call("GET", "/health/").status == 503
        assert served.call("POST", "/job/train", TRAIN).status == 503
        time.sleep(3)
        proxy.mend()
        ended(served, cut)
        restarted = running(served)
        ground.database.stop()
        time.sleep(1)
        ground.database.start()
        ended(served, restarted)
        with proxy.swallowing(b"'succeeded'") as swallowed:
            concluded = served.call("POST", "/job/train", TRAIN).body["id"]
            assert swallowed.wait(60)
        ended(served, concluded)
        with proxy.swallowing(b"INSERT INTO runs") as swallowed:
            refused = served.call("POST", "/job/train", TRAIN, **{"Idempotency-Key": "lost"})
            assert (refused.status, swallowed.is_set()) == (503, True)
        again = serving.until(lambda: (a := served.call("POST", "/job/train", TRAIN, **{"Idempotency-Key": "lost"})).status == 202 and a)
        ended(served, again.body["id"])
        with proxy.swallowing(b"FOR UPDATE OF s SKIP LOCKED") as swallowed:
            claimed = served.call("POST", "/job/train", TRAIN).body["id"]
            assert swallowed.wait(60)
        ended(served, claimed)
    with looking(ground, tmp_path, url) as world:
        assert len(world.client.get("/runs").json["items"]) == 5  # type: ignore[index]
        told(world, "database cut for 3 s", cut)
        told(world, "database restarted", restarted)
        assert told(world, "answer to the concluding commit lost", concluded) == ("succeeded", 1, 1)
        assert told(world, "answer to the queueing commit lost", again.body["id"]) == ("succeeded", 1, 1)
        assert told(world, "answer to the claiming commit lost", claimed)[::2] == ("succeeded", 1)


def ended(served: Served, id: str) -> None:
    def look() -> bool:
        answer = served.call("GET", f"/runs/{id}")
        return answer.status == 200 and answer.body["finished_at"] is not None

    serving.until(look, 90)


def test_database__down_at_start_is_waited_for(ground: Ground, tmp_path: Path, url: str) -> None:
    with Proxy(url) as proxy:
        proxy.cut()
        threading.Timer(4, proxy.mend).start()
        with serve(ground, tmp_path / "home", proxy.url) as served:
            assert served.run("/job/train", TRAIN)["status"] == "succeeded"
            assert "Traceback" not in served.log.read_text()


def test_process__that_stood_still_past_its_lease_finds_its_late_writes_refused(ground: Ground, tmp_path: Path, url: str) -> None:
    with (
        serve(ground, tmp_path / "home", url, MLSYS_EXECUTION__LEASE_SECONDS="2") as frozen,
        serve(ground, tmp_path / "home", url, MLSYS_EXECUTION__LEASE_SECONDS="2") as living,
    ):
        run = living.run("/job/train", TRAIN)
        id = running(frozen)
        owner = "frozen" if "run " + id in frozen.log.read_text() else "living"
        stopped, other = (frozen, living) if owner == "frozen" else (living, frozen)
        os.kill(stopped.process.pid, signal.SIGSTOP)
        other.ended(id)
        os.kill(stopped.process.pid, signal.SIGCONT)
        again = serving.until(lambda: accepted(stopped))  # the sessions it had were ended: a request that meets one is told to try again
        assert [run["status"], stopped.ended(again["id"])["status"]] == ["succeeded", "succeeded"]
    with looking(ground, tmp_path, url) as world:
        assert told(world, "SIGSTOP past the lease, then SIGCONT", id)[::2] == ("succeeded", 1)


def accepted(served: Served) -> Any:
    """The run of a training that is asked for until it is taken."""
    answer = served.call("POST", "/job/train", TRAIN, **{"Idempotency-Key": "woken"})
    assert answer.status in (202, 503), answer.body
    return answer.body if answer.status == 202 else None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=False, capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_disk__full_while_an_artifact_is_written_fails_the_run_and_serves_on(
    ground: Ground, tmp_path: Path, url: str, small_disk: Path
) -> None:
    more = {"MLSYS_ARTIFACTS__URL": str(small_disk), "MLSYS_EXECUTION__RETRY_SECONDS": "0.1"}
    with serve(ground, tmp_path / "home", url, **more) as served:
        (small_disk / "full").write_bytes(b"x" * 250 * 1024)
        failed = served.run("/job/train", TRAIN)
        assert (failed["status"], failed["attempt"]) == ("failed", 3)
        assert "No space left on device" in failed["error"]["message"]
        (small_disk / "full").unlink()
        assert served.run("/job/train", TRAIN)["status"] == "succeeded"
    with looking(ground, tmp_path, url) as world:
        told(world, "disk full while an artifact is written", failed["id"])


def test_kind__whose_handler_is_gone_fails_by_name_and_the_server_serves(ground: Ground, tmp_path: Path, url: str) -> None:
    """As after an update that renamed a job, with runs of the old name still in the queue."""
    with serve(ground, tmp_path / "home", url) as served:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with UnitOfWork(engine=engine, clock=SystemClock(), signals=Signals()) as unit:
            id = unit.runs.add(kind="renamed", model_name="quick", trigger={"type": "api"}, spec={})
            unit.commit()
        run = served.ended(id)
        assert (run["status"], run["error"]["kind"], "renamed" in run["error"]["message"]) == ("failed", "config_error", True)
        assert "Traceback" not in served.log.read_text()
    with looking(ground, tmp_path, url) as world:
        told(world, "job handler renamed", id)


def test_processes__a_crash_of_lightgbm_ends_the_run_and_not_the_server(ground: Ground, tmp_path: Path, url: str) -> None:
    site = plugins.install(tmp_path / "site", "mlsys.components", source_breaking="breaking:Breaking")
    paths = os.pathsep.join(map(str, (site, Path(__file__).parents[1], serving.REPOSITORY)))
    source = {"type": "breaking", "how": "lightgbm"}
    config = front.configure(tmp_path, MODELS | {"breaking": front.definition(source=source, model={"type": "seasonal_naive"})})
    more = {"MLSYS_EXECUTION__ENGINE": "processes", "MLSYS_EXECUTION__RETRY_SECONDS": "0.1", "MLSYS_EXECUTION__MAX_ATTEMPTS": "2"}
    given = {"PYTHONPATH": paths, "MLSYS_DATABASE__URL": url}
    with serving.serve(tmp_path / "home", config=config, data=ground.folder, **given, **more) as served:
        run = served.run("/job/train", TRAIN | {"model_name": "breaking"})
        assert (run["status"], run["attempt"], "native code" in run["error"]["message"]) == ("crashed", 2, True)
        assert served.run("/job/train", TRAIN | {"promote": "never"})["status"] == "succeeded"
        assert served.call("GET", "/health/").status == 200
    with looking(ground, tmp_path, url) as world:
        told(world, "LightGBM crashes in native code (processes), each time", run["id"])


def test_disk__that_is_nearly_full_under_the_home_is_told(tmp_path: Path, small_disk: Path) -> None:
    system = front.unstarted(small_disk, MODELS, **{"artifacts.url": str(tmp_path)})
    (small_disk / "home").mkdir()
    checks = front.app_of(system).test_client().get("/health/").json["checks"]  # type: ignore[index]
    assert checks["home"]["status"] == "degraded"
    assert checks["home"]["bytes_free"] < 256 * 1024 < checks["artifacts"]["bytes_free"]
