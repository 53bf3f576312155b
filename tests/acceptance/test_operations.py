"""docs/operations.md, as it is read: each command of its ``sh`` blocks is run, in their order, on one home."""

import re
import shlex
import subprocess
from pathlib import Path

import front
import pytest
import serving
import terminal

from mlsys.cli.group import COMMANDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
LINES = [line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S) for line in block.splitlines()]


@pytest.fixture
def place(tmp_path: Path) -> terminal.Place:
    """A home with a version, a prediction, and folders in the place of those that the page names."""
    found = terminal.place(tmp_path)
    for name in ("backups", "srv"):
        (tmp_path / name).mkdir()
    with serving.serve(found["home"], config=found["config"], data=found["data"]) as served:
        served.run("/job/train", front.TRAIN)
        served.run("/job/predict", front.PREDICT)
    return found


def once(lines: list[str]) -> list[str]:
    """Without those that differ from one before by names and folders alone."""
    shapes: dict[tuple[str, ...], str] = {}
    for line in lines:
        words = line.partition("#")[0].split()
        shape = [*words[:2], *(words[2:3] if words[1] in ("token", "db") else ()), *(word for word in words if word.startswith("--"))]
        shapes.setdefault(tuple(shape), line)
    return [line for shape, line in shapes.items() if shape != ("mlsys", "verify")]  # the drill has it


def test_operations__every_command_of_the_page_works_in_its_order(place: terminal.Place) -> None:
    folder = place["data"]
    for line in once(LINES):
        words = shlex.split(re.sub(r"(?<= )/backups/", f"{folder}/backups/", re.sub(r"(?<= )/srv/\w+", f"{folder}/srv/new", line)))
        assert words[0] == "mlsys"
        home = [] if "--home" in words else ["--home", str(place["home"])]
        environ = serving.environment(folder)
        command = [*serving.command(*words[1:]), *home, "--config", str(place["config"])]
        done = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=folder, timeout=120, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert {path.name for path in (folder / "backups").iterdir()} == {"today.tar.zst", "plain.tar.zst"}


def test_operations__names_commands_settings_and_files_that_exist() -> None:
    told = set(re.findall(r"\bmlsys ([a-z][a-z-]+)", "\n".join([*LINES, *re.findall(r"`(mlsys [^`\n]+)`", PAGE)])))
    assert {"backup", "restore", "verify", "gc", "token", "serve", "webhooks", "demote"} <= told <= set(COMMANDS)
    for path in ("deploy/mlsys.service", "deploy/prometheus", "deploy/grafana", "docs/monitoring.md", ".env.example", "compose.yaml"):
        assert path.removeprefix("docs/") in PAGE or path == "compose.yaml"
        assert (ROOT / path).exists(), path
    settings = re.findall(r"`((?:retention|execution|data|database|server|artifacts|webhooks)\.(?!key)[a-z_]+)`", PAGE)
    known = (ROOT / "config.yaml").read_text()
    assert settings
    assert [name for name in settings if f"  {name.partition('.')[2]}:" not in known] == []
