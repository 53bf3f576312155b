"""``mlsys serve`` as today's users meet it: their calls, and whatever happens to a process."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import front
import pytest
import serving
from serving import Served

CONFIG = serving.REPOSITORY / "config.yaml"
YEAR = {"model_name": "forecast_model", "start_date": "2017-01-01", "end_date": "2017-12-31"}
LONG = {"num_iterations": 1500}  # some seconds


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve") / "home"


@pytest.fixture(scope="module")
def served(home: Path, solar: Path) -> Iterator[Served]:
    with serving.serve(home, config=CONFIG, data=solar.parent) as found:
        yield found


# -- the users' own calls --------------------------------------------------------------------------------------------------------------


def test_first_call__is_answered_whatever_it_is(tmp_path: Path, solar: Path) -> None:
    with serving.serve(tmp_path / "home", config=CONFIG, data=solar.parent) as fresh:
        answer = fresh.call("POST", "/model/promote", {"model_name": "forecast_model", "model_version_id": "none"})
        assert (answer.status, list(answer.body["errors"])) == (422, ["model_version_id"])


def test_users_calls__work_as_they_always_did(served: Served, solar: Path) -> None:
    assert served.call("GET", "/health/").body["status"] == "ok"
    assert served.call("GET", "/migrate/?version=001&direction=up").body == {"from": serving.HEAD, "to": serving.HEAD}
    queued = served.call("POST", "/job/train", YEAR | {"file_path": str(solar)})
    assert queued.status == 202
    first = served.ended(queued.body["id"])
    assert (first["status"], first["result"]["promoted"]) == ("succeeded", True), first
    months = YEAR | {"file_path": solar.name, "start_date": "2018-01-01", "end_date": "2018-06-30"}
    forecast = served.run("/job/predict", months)
    assert (forecast["status"], forecast["result"]["output"]["rows"]) == ("succeeded", 181 * 96), forecast
    second = served.run("/job/train", YEAR | {"promote": "never", "params": {"num_iterations": 20, "seeds": 1}})
    chosen = {"model_name": "forecast_model", "model_version_id": second["result"]["model_version_id"]}
    promoted = served.call("POST", "/model/promote", chosen)
    assert promoted.body["previous_model_version_id"] == first["result"]["model_version_id"]
    demoted = served.call("GET", "/model/demote?model_name=forecast_model")
    assert (demoted.status, demoted.body["model_version_id"]) == (200, first["result"]["model_version_id"])
    assert served.call("POST", "/model/demote?model_name=forecast_model").status == 409


# -- bodies and sockets ----------------------------------------------------------------------------------------------------------------

LARGE = 200 * 2**20


def written_and_resident(pid: int) -> tuple[int, int]:
    """Bytes written to disk so far, and the greatest resident memory, of a process."""
    lines = (Path(f"/proc/{pid}/io").read_text() + Path(f"/proc/{pid}/status").read_text()).splitlines()
    found = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    return int(found["write_bytes"][0]), int(found["VmHWM"][0]) * 1024


@pytest.mark.parametrize("chunked", [False, True])
def test_body__too_large_is_refused_to_a_client_that_is_still_sending(served: Served, chunked: bool) -> None:
    written, resident = written_and_resident(served.process.pid)
    address = urlsplit(served.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    piece = b" " * 2**20
    body = (piece for _ in range(LARGE // len(piece)))
    headers = {"Content-Type": "application/json"} | ({} if chunked else {"Content-Length": str(LARGE)})
    connection.request("POST", "/job/train", body=body, headers=headers, encode_chunked=chunked)
    answer = connection.getresponse()
    assert answer.status == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert b"server.max_body_bytes" in answer.read()
    after = written_and_resident(served.process.pid)
    assert after[0] - written < 20 * 2**20
    assert after[1] - resident < 40 * 2**20
    connection.request("GET", "/health/")
    assert connection.getresponse().status == 200, "the connection goes on"
    connection.close()


def raw(served: Served, data: bytes) -> bytes:
    address = urlsplit(served.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nBad Header\r\n\r\n", 400),
        (b"POST /job/train HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST /job/train HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /job/train HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /runs HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 262_150 + b"\r\n\r\n", 431),
        (b"GET /runs HTTP/1.1\r\n\r\n", 400),
        (b"GET /runs HTTP/1.0\r\n\r\n", 400),
        (b"GET /runs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        (b"POST /job/train HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{", 400),
    ],
)
def test_socket__nonsense_is_a_problem_like_any_other(served: Served, data: bytes, status: int) -> None:
    answer = raw(served, data)
    assert answer[:7] + answer[8:12] == f"HTTP/1. {status}".encode(), answer[:200]
    assert b"application/problem+json" in answer
    assert f'"status": {status}'.encode() in answer
    assert b"waitress" not in answer.lower()
    assert b"frame-ancestors 'none'" in answer, "headers of every answer, also of those that the server gives by itself"
    assert b"nosniff" in answer


def test_socket__many_clients_that_say_nothing_keep_nobody_waiting(served: Served) -> None:
    address = urlsplit(served.url)
    silent = [socket.create_connection((address.hostname, address.port)) for _ in range(60)]
    for one in silent:
        one.sendall(b"POST /job/train HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    started = time.monotonic()
    assert served.call("GET", "/health/").status == 200
    assert time.monotonic() - started < 15
    for one in silent:
        one.close()


# -- whatever happens to the process ---------------------------------------------------------------------------------------------------


def running(served: Served, body: dict[str, Any]) -> str:
    """A training that is under way."""
    id: str = served.call("POST", "/job/train", body).body["id"]
    serving.until(lambda: (served.call("GET", f"/runs/{id}").body["progress"] or {}).get("step", "").startswith("fit"))
    return id


def history(served: Served, id: str) -> list[tuple[str, int]]:
    return [(change["status"], change["attempt"]) for change in reversed(served.call("GET", f"/runs/{id}/history").body["items"])]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration of one small model, and its data."""
    folder = tmp_path_factory.mktemp("quick")
    front.hourly().to_parquet(folder / "hourly.parquet")
    front.configure(folder, {"quick": front.definition()})
    return folder


def test_kill__during_training_loses_nothing_and_leaves_no_database_server(quick: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with serving.serve(home, config=quick / "config.yaml", data=quick) as first:
        done = first.run("/job/train", front.TRAIN)
        id = running(first, front.TRAIN | {"params": LONG})
        waiting = [first.call("POST", "/job/train", front.TRAIN).body["id"] for _ in range(3)]
        first.kill()
    serving.until(lambda: not serving.postgres_of(home), 10)
    with serving.serve(home, config=quick / "config.yaml", data=quick) as second:
        assert second.call("GET", f"/runs/{done['id']}").body == done
        assert second.ended(id)["status"] == "succeeded"
        assert history(second, id) == [("queued", 1), ("running", 1), ("crashed", 1), ("queued", 2), ("running", 2), ("succeeded", 2)]
        assert [second.ended(one)["status"] for one in waiting] == ["succeeded"] * 3
        versions = second.call("GET", "/models/quick/versions").body["items"]
        assert [version["version"] for version in versions] == [5, 4, 3, 2, 1]
        assert second.terminate() == 0
    assert serving.postgres_of(home) == []


def test_terminate__gives_the_running_job_back_and_a_restart_finishes_it(quick: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    place = {"config": quick / "config.yaml", "data": quick}
    with serving.serve(home, **place, MLSYS_EXECUTION__GRACE_SECONDS="0.5") as first:
        id = running(first, front.TRAIN | {"params": LONG | {"seeds": 2}})
        started = time.monotonic()
        assert first.terminate() == 0
        assert time.monotonic() - started < 20
        assert "Traceback" not in first.log.read_text()
    assert serving.postgres_of(home) == []
    with serving.serve(home, config=quick / "config.yaml", data=quick) as second:
        assert second.ended(id)["status"] == "succeeded"
        assert history(second, id) == [("queued", 1), ("running", 1), ("queued", 2), ("running", 2), ("succeeded", 2)]


def test_terminate__lets_a_running_job_end_while_health_says_that_it_stops(quick: Path, tmp_path: Path) -> None:
    place = {"config": quick / "config.yaml", "data": quick}
    with serving.serve(tmp_path / "home", **place, MLSYS_EXECUTION__GRACE_SECONDS="60") as first:
        id = running(first, front.TRAIN | {"params": LONG})
        first.process.send_signal(signal.SIGTERM)
        health = serving.until(lambda: (found := first.call("GET", "/health/")).status == 503 and found)
        assert health.body["checks"]["executor"]["stopping"]
        late = first.call("POST", "/job/train", front.TRAIN)
        assert (late.status, first.call("GET", f"/runs/{id}").body["status"]) == (202, "running")
        assert first.process.wait(90) == 0
        assert "Traceback" not in first.log.read_text()
    with serving.serve(tmp_path / "home", **place) as second:
        assert second.ended(late.body["id"])["status"] == "succeeded"
        assert history(second, id) == [("queued", 1), ("running", 1), ("succeeded", 1)]


def test_terminate__twice_leaves_at_once_and_loses_nothing(quick: Path, tmp_path: Path) -> None:
    place = {"config": quick / "config.yaml", "data": quick}
    with serving.serve(tmp_path / "home", **place, MLSYS_EXECUTION__GRACE_SECONDS="600") as first:
        id = running(first, front.TRAIN | {"params": LONG})
        first.process.send_signal(signal.SIGTERM)
        serving.until(lambda: first.call("GET", "/health/").status == 503)
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(5) == 0
    serving.until(lambda: not serving.postgres_of(tmp_path / "home"), 10)
    with serving.serve(tmp_path / "home", **place) as second:
        assert second.ended(id)["status"] == "succeeded"
        assert history(second, id)[2] == ("crashed", 1)


def test_second_server__on_the_same_home_serves_and_takes_over(quick: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (
        serving.serve(home, config=quick / "config.yaml", data=quick) as first,
        serving.serve(home, config=quick / "config.yaml", data=quick) as second,
    ):
        run = first.run("/job/train", front.TRAIN)
        assert second.call("GET", f"/runs/{run['id']}").body == run
        assert second.run("/job/predict", front.PREDICT)["status"] == "succeeded"
        orphan = running(first, front.TRAIN | {"params": LONG})
        first.kill()
        serving.until(lambda: second.call("GET", "/runs").status == 200, 30)
        assert second.ended(orphan)["status"] == "succeeded"
        assert history(second, orphan)[2:4] == [("crashed", 1), ("queued", 2)]
        assert second.terminate() == 0
    assert serving.postgres_of(home) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "no-such-host.invalid"])
def test_host__that_others_can_reach_is_refused(quick: Path, tmp_path: Path, host: str) -> None:
    found = serving.cli("serve", "--host", host, home=tmp_path / "home", config=quick / "config.yaml", data=quick)
    assert found.returncode == 2
    assert "server.host" in found.stderr
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "home").exists()


def test_port__taken_is_told_clearly(quick: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = serving.cli("serve", "--port", port, home=tmp_path / "home", config=quick / "config.yaml", data=quick)
    assert found.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}" in found.stderr
    assert "--port" in found.stderr
    assert "Traceback" not in found.stderr
    assert serving.postgres_of(tmp_path / "home") == []


def test_train__on_the_command_line_talks_to_the_running_server(quick: Path, tmp_path: Path) -> None:
    home, place = tmp_path / "home", {"config": quick / "config.yaml", "data": quick}
    with serving.serve(home, **place) as served:
        words = ("train", "quick", "--start", "2020-01-01", "--end", "2020-03-15", "--json")
        found = serving.cli(*words, home=home, **place)
        assert found.returncode == 0, found.stderr
        (run,) = served.call("GET", "/runs").body["items"]
        assert run["trigger"] == {"type": "cli"}
        assert run["id"] in found.stdout
        elsewhere = serving.cli(*words, home=tmp_path / "other", **place, MLSYS_URL=served.url)
        assert elsewhere.returncode == 0, elsewhere.stderr
        assert not (tmp_path / "other").exists()
        assert len(served.call("GET", "/runs").body["items"]) == 2
        served.kill()
        # the dead server's trace leads nobody astray
        assert serving.cli("runs", "--json", home=home, **place).returncode == 0


def test_idle__one_process_of_ours_and_the_database_s(served: Served) -> None:
    children = subprocess.run(
        ["ps", "-o", "comm=", "--ppid", str(served.process.pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    assert set(children) <= {"postgres"}
    assert os.path.exists(f"/proc/{served.process.pid}")
