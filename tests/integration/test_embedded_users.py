"""The embedded PostgreSQL as root, as an ordinary user, and where a container forbids things. Processes: test_embedded_postgres.py."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
UID = 65534  # nobody: on every Linux machine
AS_USER = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
WITHOUT_DAC = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
UNSHARE = {"x86_64": 272, "aarch64": 97}
# starts a server, adds a row, and tells who runs it and what there is
PROGRAM = """
import json, os, sys
from pathlib import Path
import psycopg2
from mlsys import errors
from mlsys.storage.embedded import EmbeddedPostgres
postgres = EmbeddedPostgres(home=Path(sys.argv[1]))
try:
    postgres.start()
except errors.MlsysError as exc:
    print(json.dumps({"error": exc.kind, "message": exc.message}))
    sys.exit()
with psycopg2.connect(postgres.url.replace("+psycopg2", "")) as connection:
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE IF NOT EXISTS kept (i int); INSERT INTO kept VALUES (1); SELECT count(*) FROM kept")
    rows = cursor.fetchone()[0]
print(json.dumps({"rows": rows, "uid": os.stat(f"/proc/{postgres.pid}").st_uid, "owned": postgres.owned}))
postgres.stop()
"""
# what Docker's default seccomp profile does to unshare, then the rest of the command line
FORBID_UNSHARE = """
import ctypes, os, struct, sys
ERRNO, ALLOW, LOAD, JUMP_EQUAL, RETURN = 0x00050001, 0x7FFF0000, 0x20, 0x15, 0x06
steps = [(LOAD, 0, 0, 0), (JUMP_EQUAL, 0, 1, int(sys.argv[1])), (RETURN, 0, 0, ERRNO), (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
if libc.prctl(22, 2, ctypes.addressof(program), 0, 0):
    raise OSError(ctypes.get_errno(), "seccomp")
os.execvp(sys.argv[2], sys.argv[2:])
"""

# starting a second one matters: setpriv keeps root's passage through folders for the first
CAN_RUN = "import psycopg2, subprocess, sys, mlsys.storage.embedded; subprocess.run([sys.executable, '-c', ''], check=True)"
pytestmark = pytest.mark.needs_parts
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that an ordinary user can reach (pytest's own tmp_path lies in a folder of mode 0700)."""
    path = Path(tempfile.mkdtemp(prefix="mlsys-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)  # all of it must be deletable by who started it, and by root


def make_home(folder: Path, *, uid: int, mode: int = 0o700) -> Path:
    home = folder / "home"
    home.mkdir(mode=mode)
    os.chown(home, uid, uid)
    return home


def interpreter(prefix: list[str]) -> str:
    """A Python with our libraries that runs behind ``prefix`` (root's own Python may lie in /root, where nobody else can reach it)."""
    for python in (sys.executable, "/usr/bin/python3"):
        command = [*prefix, python, "-c", CAN_RUN]
        if shutil.which(python) and subprocess.run(command, env=environment(), capture_output=True, check=False, cwd="/").returncode == 0:
            return python
    pytest.skip("no Python with our libraries that the ordinary user can run")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}"}


def run(home: Path, *prefix: str) -> dict[str, Any]:
    command = [*prefix, interpreter(list(prefix)), "-c", PROGRAM, str(home)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True, cwd="/")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def forbidden() -> list[str]:
    number = UNSHARE.get(os.uname().machine)
    if number is None:
        pytest.skip("the number of unshare on this machine is not known to the test")
    return [sys.executable, "-c", FORBID_UNSHARE, str(number)]


def test_own_user__works_in_a_private_home(folder: Path) -> None:
    home = make_home(folder, uid=os.geteuid())
    assert [run(home)["rows"] for _ in range(2)] == [1, 2]
    assert oct(home.stat().st_mode & 0o777) == "0o700"
    assert {path.stat().st_uid for path in home.rglob("*")} == {os.geteuid()}


@as_root
def test_ordinary_user__works_in_a_private_home(folder: Path) -> None:
    home = make_home(folder, uid=UID)
    assert run(home, *AS_USER) == {"rows": 1, "uid": UID, "owned": True}
    assert {path.stat().st_uid for path in home.rglob("*")} == {UID}


@as_root
def test_root__keeps_a_users_home_usable_for_the_user(folder: Path) -> None:
    home = make_home(folder, uid=UID)
    assert [run(home)["rows"], run(home, *AS_USER)["rows"], run(home)["rows"]] == [1, 2, 3]
    assert {path.stat().st_uid for path in home.rglob("*")} == {UID}


@as_root
def test_user__without_a_name_works(folder: Path) -> None:
    home = make_home(folder, uid=54321)
    assert run(home, "setpriv", "--reuid=54321", "--regid=54321", "--clear-groups")["rows"] == 1


@as_root
def test_ordinary_user__in_a_home_of_somebody_else_is_told(folder: Path) -> None:
    answer = run(make_home(folder, uid=0, mode=0o755), *AS_USER)
    assert answer["error"] == "config_error"
    assert "cannot be used: Permission denied" in answer["message"]


@as_root
def test_root__without_namespaces_uses_an_unprivileged_user(folder: Path) -> None:
    home = make_home(folder, uid=0)
    answers = [run(home, *forbidden()) for _ in range(2)]
    assert [answer["rows"] for answer in answers] == [1, 2]
    assert 0 not in {answer["uid"] for answer in answers}
    assert (home.stat().st_uid, home.stat().st_mode & 0o777) == (0, 0o700)


@as_root
def test_root__moves_its_data_to_where_namespaces_are_forbidden(folder: Path) -> None:
    home = make_home(folder, uid=0)
    assert [run(home)["rows"], run(home, *forbidden())["rows"], run(home)["rows"]] == [1, 2, 3]


@as_root
def test_root__without_any_way_names_the_folder_and_remedies(folder: Path) -> None:
    home = make_home(folder, uid=0)
    answer = run(home, *WITHOUT_DAC, *forbidden())
    assert answer["error"] == "config_error"
    assert f"({home}: Permission denied" in answer["message"]
    assert "run mlsys as an ordinary user" in answer["message"]
    assert home.stat().st_mode & 0o777 == 0o700


@as_root
def test_full_disk__is_named(folder: Path) -> None:
    home = make_home(folder, uid=0)
    mount = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o size=10m none {home} && exec "$@"', "sh"]
    assert "disk" in run(home, *mount)["message"]
