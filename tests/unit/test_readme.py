"""The README is held to the code: its two commands, its keys, its commands."""

import re
from pathlib import Path

import sqlalchemy as sa

from mlsys import config, declarations
from mlsys.cli.group import COMMANDS
from mlsys.pipelines import definition

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)


def test_readme__opens_with_the_two_commands_that_ci_runs() -> None:
    first, second = [text for kind, text in BLOCKS if kind == "sh"][:2]
    assert first.count("\n") == second.count("\n") == 1
    assert first.rstrip().endswith("mlsys demo")
    assert second.rstrip().endswith("pytest")
    assert "block == 2" in (ROOT / ".ci" / "run").read_text()


def test_readme__every_mlsys_command_exists() -> None:
    told = set(re.findall(r"\bmlsys ([a-z-]+)", "\n".join(text for kind, text in BLOCKS if kind == "sh")))
    assert told
    assert told <= set(COMMANDS)


def test_readme__its_settings_are_valid(tmp_path: Path) -> None:
    text = "".join(text for kind, text in BLOCKS if kind == "yaml")
    (tmp_path / "config.yaml").write_text(text)
    found = config.load(tmp_path / "config.yaml", environ={})
    for name, raw in found.models.items():
        assert definition.normalise(raw)["timestamp"] == raw["timestamp"], name
    sinks = declarations.sinks(found, engine=sa.create_engine("postgresql+psycopg2://"), post=lambda *_: 200)
    assert sorted(sinks) == ["notification:mail", "sink:broker"]
    assert found.models


def test_changelog__names_every_command() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert [name for name in COMMANDS if f"`{name}`" not in changelog and f"`mlsys {name}`" not in changelog] == []
