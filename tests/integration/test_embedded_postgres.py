"""The embedded PostgreSQL, for real: processes that start it, share it and are killed. Users, refusals: files beside it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mlsys import errors
from mlsys.storage import embedded_server
from mlsys.storage.embedded import EmbeddedPostgres
from mlsys.storage.embedded_cluster import Cluster

ROOT = Path(__file__).parents[2]
SYSTEM = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
# starts the server of a home, tells its state, then does one thing per line of input: tell the state, add a row, stop
PROGRAM = """
import json, sys
from pathlib import Path
import psycopg2
from mlsys import errors
from mlsys.storage.embedded import EmbeddedPostgres
postgres = EmbeddedPostgres(home=Path(sys.argv[1]))
tell = lambda **answer: print(json.dumps(answer), flush=True)
try:
    postgres.start()
except errors.MlsysError as exc:
    tell(error=exc.kind, message=exc.message)
    sys.exit(1)
tell(pid=postgres.pid, owned=postgres.owned, url=postgres.url)
for line in sys.stdin:
    if line.strip() == "add":
        with psycopg2.connect(postgres.url.replace("+psycopg2", "")) as connection:
            connection.cursor().execute("CREATE TABLE IF NOT EXISTS kept (i int); INSERT INTO kept VALUES (1)")
    if line.strip() == "stop":
        postgres.stop()
    tell(pid=postgres.pid, owned=postgres.owned, url=postgres.url)
"""


class Program:
    """A process of its own that runs PROGRAM."""

    def __init__(self, home: Path, **environ: str) -> None:
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
        command = [sys.executable, "-c", PROGRAM, str(home)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def ask(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.answer()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def program() -> Iterator[Callable[..., Program]]:
    made: list[Program] = []

    def make(home: Path, **environ: str) -> Program:
        made.append(Program(home, **environ))
        return made[-1]

    yield make
    for each in made:
        each.kill()


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(home=tmp_path / "home")
    server.start()
    yield server
    server.stop()


def run(url: str, statement: str) -> Any:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement))
        return result.scalar() if result.returns_rows else None


def running(pid: int | None) -> bool:
    return Path(f"/proc/{pid}/exe").is_symlink() and Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def wait_for(condition: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def start_and_stop(home: Path, **options: Any) -> EmbeddedPostgres:
    server = EmbeddedPostgres(home=home, **options)
    server.start()
    server.stop()
    return server


def test_start__keeps_data_over_a_restart(postgres: EmbeddedPostgres) -> None:
    run(postgres.url, "CREATE TABLE kept AS SELECT 'Grüße' AS word")
    first = postgres.pid
    postgres.stop()
    assert not running(first)
    assert (postgres.pid, postgres.owned) == (None, False)
    postgres.stop()
    postgres.start()
    assert run(postgres.url, "SELECT upper(word) FROM kept") == "GRÜßE"


def test_start__is_quick_on_a_warm_home(postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    begin = time.monotonic()
    postgres.start()
    assert time.monotonic() - begin < 10  # 0.1 s on a quiet machine; a server that nobody told to stop would take 30


def test_server__is_durable_private_and_small(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    wanted = {"fsync": "on", "synchronous_commit": "on", "listen_addresses": "", "jit": "off", "TimeZone": "UTC", "data_checksums": "on"}
    assert {name: run(postgres.url, f"SHOW {name}") for name in wanted} == wanted
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "home").iterdir() if path.is_dir()} == {
        "database": "0o700",
        "run": "0o700",
    }


@pytest.mark.parametrize("name", ["with a space", "x" * 120, "comma, colon: and 'quote\"", "ünïcode"])
def test_start__works_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    server = EmbeddedPostgres(home=Path(name, "home"))
    assert server.url == EmbeddedPostgres(home=tmp_path / name / "home").url
    server.start()
    try:
        assert run(server.url, "SHOW data_directory") == str(tmp_path / name / "home" / "database")
    finally:
        server.stop()
        Cluster(tmp_path / name / "home").sockets.rmdir()


def test_short_socket_folder__of_somebody_else_is_refused(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 120)
    sockets = Cluster(home).sockets
    sockets.symlink_to(tmp_path)
    try:
        with pytest.raises(errors.ConfigError, match="not a folder of this user's own"):
            EmbeddedPostgres(home=home).start()
    finally:
        sockets.unlink()


def test_kill__takes_the_server_down(tmp_path: Path, program: Callable[..., Program]) -> None:
    killed = program(tmp_path, PGPORT="1", PGDATA="/nowhere", LC_ALL="xx_XX")
    pid = killed.answer()["pid"]
    killed.ask("add")
    killed.kill()
    wait_for(lambda: not running(pid), 5)


def test_kill__loses_nothing_on_a_restart_at_once(tmp_path: Path, program: Callable[..., Program]) -> None:
    for rows in (1, 2, 3):
        killed = program(tmp_path)
        state = killed.answer()
        assert state["owned"]
        killed.ask("add")
        killed.kill()
        server = EmbeddedPostgres(home=tmp_path)
        server.start()
        assert (server.owned, server.pid != state["pid"]) == (True, True)
        assert run(server.url, "SELECT count(*) FROM kept") == rows
        server.stop()


def test_kill__during_initdb_leaves_nothing_behind(tmp_path: Path, program: Callable[..., Program]) -> None:
    killed = program(tmp_path)
    wait_for(lambda: list(tmp_path.glob("database.new-*/PG_VERSION")))
    killed.kill()
    start_and_stop(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["database", "postgres.lock", "postgres.log", "run"]


def test_exit__without_stop_takes_the_server_down(tmp_path: Path, program: Callable[..., Program]) -> None:
    leaving = program(tmp_path)
    pid = leaving.answer()["pid"]
    leaving.process.communicate()
    assert leaving.process.returncode == 0
    wait_for(lambda: not running(pid), 5)


def test_second_process__attaches_and_takes_over(postgres: EmbeddedPostgres, tmp_path: Path, program: Callable[..., Program]) -> None:
    second = program(tmp_path / "home")
    assert second.answer() == {"pid": postgres.pid, "owned": False, "url": postgres.url}
    second.ask("add")
    postgres.stop()
    wait_for(lambda: second.ask("state")["owned"])
    second.ask("add")
    assert run(postgres.url, "SELECT count(*) FROM kept") == 2
    postgres.start()
    assert not postgres.owned
    assert second.ask("stop")["pid"] is None
    wait_for(lambda: postgres.owned)
    assert run(postgres.url, "SELECT count(*) FROM kept") == 2


def test_stop__of_an_attached_process_leaves_the_server_alone(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    second = EmbeddedPostgres(home=tmp_path / "home")
    second.start()
    second.stop()
    assert running(postgres.pid)
    assert run(postgres.url, "SELECT 1") == 1


def test_processes__starting_at_once_share_one_server(tmp_path: Path, program: Callable[..., Program]) -> None:
    states = [each.answer() for each in [program(tmp_path) for _ in range(3)]]
    assert len({state["pid"] for state in states}) == 1
    assert sorted(state["owned"] for state in states) == [False, False, True]


def test_server__killed_is_started_again(postgres: EmbeddedPostgres) -> None:
    run(postgres.url, "CREATE TABLE kept AS SELECT 7 AS i")
    busy = sa.create_engine(postgres.url).connect()  # an orphaned backend holds the shared memory for a while
    first = postgres.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: postgres.pid not in {None, first})
    assert run(postgres.url, "SELECT i FROM kept") == 7
    busy.invalidate()
    busy.engine.dispose()


def test_leftovers__naming_a_live_stranger_do_not_fool_it(tmp_path: Path) -> None:
    start_and_stop(tmp_path)
    text = f"{os.getpid()}\n{tmp_path}/database\n1\n5432\n{tmp_path}/run\n\n  1 1\nready\n"
    (tmp_path / "database" / "postmaster.pid").write_text(text)
    (tmp_path / "run" / ".s.PGSQL.5432.lock").write_text(text)
    start_and_stop(tmp_path)
    assert not (tmp_path / "database" / "postmaster.pid").exists()


def test_connect__refuses_the_server_of_another_data_folder(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    start_and_stop(tmp_path / "other")
    other = Cluster(tmp_path / "other")
    other.sockets.rmdir()
    other.sockets.symlink_to(tmp_path / "home" / "run")
    assert embedded_server.connect(other) is None
    connection = embedded_server.connect(Cluster(tmp_path / "home"))
    assert connection is not None
    connection.close()


def test_lock__is_held_just_while_the_server_lives(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "home")
    assert cluster.try_lock() is None
    postgres.stop()
    lock = cluster.try_lock()
    assert lock is not None
    os.close(lock)


def test_log__is_bounded(tmp_path: Path) -> None:
    (tmp_path / "postgres.log").write_bytes(b"x" * (11 * 2**20))
    start_and_stop(tmp_path)
    assert (tmp_path / "postgres.log").stat().st_size < 10_000
    assert (tmp_path / "postgres.log.1").stat().st_size == 11 * 2**20


@pytest.mark.needs_parts
@pytest.mark.parametrize("folder", SYSTEM or [pytest.param(None, marks=pytest.mark.skip(reason="no system PostgreSQL"))], ids=str)
def test_start__works_with_a_system_postgresql(tmp_path: Path, program: Callable[..., Program], folder: Path) -> None:
    state = program(tmp_path, MLSYS_POSTGRES_BIN=str(folder)).answer()
    assert run(state["url"], "SHOW server_version").startswith(folder.parent.name)
    assert (tmp_path / "database" / "PG_VERSION").read_text().strip() == folder.parent.name
