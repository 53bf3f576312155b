"""``mlsys demo`` as a newcomer types it: one command in an empty folder, to its end, again on the same home, and stopped half-way."""

import json
import re
import signal
import socket
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from processes import Mlsys


def get(url: str) -> str:
    with urlopen(url, timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def test_demo__shows_everything_and_again_on_the_same_home(tmp_path: Path) -> None:
    with Mlsys("demo", "--port", "0", "--exit", folder=tmp_path) as demo:
        demo.said("The forecast stands")  # how soon: benchmarks/bench_start.py
        assert demo.end() == 0, demo.output
        for said in ("Read 35132 rows", "accepted; now in production", "not_worse_than_champion", "seasonal naive", "curl"):
            assert said in demo.output, said
        errors = re.search(r"^all +\S+ +\S+ +(\d+) +(\d+) *$", demo.output, re.MULTILINE)
        assert errors is not None
        assert int(errors[1]) < int(errors[2])
        assert not demo.left_behind()
    with Mlsys("demo", "--port", "0", folder=tmp_path) as again:
        again.said("goes on serving")
        model: dict[str, Any] = json.loads(get(f"{again.url()}/models/pv_sample"))
        assert (model["versions"], model["production"] is None) == (4, False)
        assert "<polyline" in get(f"{again.url()}/")
        assert "swagger-ui" in get(f"{again.url()}/docs")
        assert again.end(signal.SIGTERM) == 0, again.output
        assert not again.left_behind()


@pytest.mark.parametrize(
    ("moment", "number"), [("mlsys serves at", signal.SIGINT), ("1. Train", signal.SIGTERM), ("2. Train", signal.SIGINT)]
)
def test_demo__stopped_half_way_ends_cleanly(tmp_path: Path, moment: str, number: int) -> None:
    with Mlsys("demo", "--port", "0", folder=tmp_path) as demo:
        demo.said(moment)
        assert demo.end(number, within=60) == 0, demo.output
        assert "Traceback" not in demo.output
        assert "The demo stopped here" not in demo.output
        assert not demo.left_behind()


def test_demo__a_taken_port_is_replaced_unless_it_was_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (tmp_path / "config.yaml").write_text(json.dumps({"server": {"port": port}}))
        with Mlsys("demo", folder=tmp_path) as demo:
            demo.said(f"Port {port} is taken")
            assert not demo.url().endswith(f":{port}")
            assert demo.end(signal.SIGTERM) == 0
        with Mlsys("demo", "--port", str(port), folder=tmp_path) as demo:
            assert demo.end() == 1
            assert f"Cannot listen on 127.0.0.1:{port}" in demo.output


def test_demo__a_step_that_fails_is_told_and_makes_the_exit_code(tmp_path: Path) -> None:
    """Here: models cannot be stored, for a file is where their folder should be."""
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "artifacts").write_text("in the way")
    with Mlsys("demo", "--port", "0", "--exit", folder=tmp_path) as demo:
        assert demo.end() == 1, demo.output
        assert "The demo stopped here: run" in demo.output
        assert not demo.left_behind()
