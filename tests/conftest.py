"""Real PostgreSQL for every test that needs one: embedded and system server alike, one database a test, cloned from a migrated template."""

import json
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from serving import free_port

from mlsys import bootstrap, config
from mlsys.storage.database import make_engine
from mlsys.storage.embedded import EmbeddedPostgres
from mlsys.storage.migrate import Migrator
from mlsys.system import System

SOLAR = Path(__file__).parents[2] / "shared" / "data" / "solar-dataset.pq"


@pytest.fixture(scope="session")
def solar() -> Path:
    if not SOLAR.exists():
        pytest.skip(f"the first users' data set is not here ({SOLAR})")
    return SOLAR


@dataclass
class Server:
    """A running PostgreSQL. ``clone`` gives a fresh migrated database, ``empty`` an empty one."""

    url: sa.URL
    _numbers: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        template = self.empty("template_mlsys")
        engine = make_engine(template, pool_size=1, statement_timeout_seconds=60)
        Migrator(engine=engine).upgrade()
        engine.dispose()

    def empty(self, name: str | None = None) -> str:
        return self._create(name or f"empty_{next(self._numbers)}", "template0")

    def clone(self) -> str:
        return self._create(f"clone_{next(self._numbers)}", "template_mlsys")

    def drop(self, url: str) -> None:
        self._execute(f'DROP DATABASE IF EXISTS "{sa.make_url(url).database}" WITH (FORCE)')

    def _create(self, name: str, template: str) -> str:
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url.set(database=name).render_as_string(hide_password=False)

    def _execute(self, statement: str) -> None:
        engine = sa.create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.execute(sa.text(statement))


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    database = EmbeddedPostgres(home=tmp_path_factory.mktemp("embedded"))
    database.start()
    yield Server(sa.make_url(database.url))
    database.stop()


@pytest.fixture(scope="session")
def system_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The PostgreSQL of this machine, started on a free port as a user of its own where we are root."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not found:
        pytest.skip("no system PostgreSQL under /usr/lib/postgresql (Debian package: postgresql)")
    folder = tmp_path_factory.mktemp("system")
    become: list[str] = []
    if os.geteuid() == 0:
        become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        folder = Path(shutil.copytree(folder, f"/tmp/mlsys-test-system-{os.getpid()}"))
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
    port = free_port()
    subprocess.run(
        [*become, found[-1] / "initdb", "-D", folder / "data", "-U", "mlsys", "-A", "trust", "-N"], check=True, capture_output=True, cwd="/"
    )
    command = [found[-1] / "postgres", "-D", folder / "data", "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"]
    process = subprocess.Popen([*become, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
    url = sa.make_url(f"postgresql+psycopg2://mlsys@127.0.0.1:{port}/postgres")
    _wait_for(url)
    yield Server(url)
    process.terminate()
    process.wait(20)
    shutil.rmtree(folder, ignore_errors=True)


def _wait_for(url: sa.URL) -> None:
    for _ in range(200):
        try:
            sa.create_engine(url, poolclass=sa.NullPool).connect().close()
        except sa.exc.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("the system PostgreSQL did not start")


@pytest.fixture(params=["embedded", "system"])
def server(request: pytest.FixtureRequest) -> Server:
    """Both kinds of server, one after the other."""
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture
def database_url(server: Server) -> Iterator[str]:
    url = server.clone()
    yield url
    server.drop(url)


MakeSystem = Callable[..., System]


@pytest.fixture
def make_system(tmp_path: Path, database_url: str) -> Iterator[MakeSystem]:
    """Builds and starts systems on the test's database; keyword ``models`` and dotted overrides as in config."""
    started: list[System] = []

    def make(models: dict[str, Any] | None = None, *, start: bool = True, clock: Any = None, **overrides: Any) -> System:
        file = tmp_path / "config.yaml"
        file.write_text(json.dumps({"models": models or {}}))  # JSON is YAML
        given = {"home": str(tmp_path / "home"), "database.url": database_url, "data.roots": [str(tmp_path / "data")]}
        system = bootstrap.build(config.load(file, environ={}, overrides=given | overrides), clock=clock)
        started.append(system)
        if start:
            system.start()
        return system

    (tmp_path / "data").mkdir()
    yield make
    for system in started:
        system.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        on_system = hasattr(item, "callspec") and item.callspec.params.get("server") == "system"
        if on_system or "small_disk" in item.fixturenames:
            item.add_marker(pytest.mark.needs_parts)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI every part has been installed: a test that skips there has not been run, and fails."""
    report = yield
    if report.skipped and os.environ.get("MLSYS_TEST_NO_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may skip: {report.longrepr}"
    return report
