"""What is declared for the package agrees with what is in the tree."""

import configparser
from importlib import metadata
from pathlib import Path

import pytest

from mlsys.pipelines.base import Component

ROOT = Path(__file__).parents[2]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def test_packages__every_folder_with_code_is_listed() -> None:
    listed = set(SETUP["options"]["packages"].split())
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "mlsys").rglob("*.py")}
    assert listed == found | {"mlsys.migrations", "mlsys.migrations.versions"}


def test_package_data__every_other_file_is_covered() -> None:
    patterns = SETUP["options.package_data"]["mlsys"].split()
    others = [
        path.relative_to(ROOT / "mlsys") for path in (ROOT / "mlsys").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert others
    assert [path for path in others if not any(path.match(pattern) for pattern in patterns)] == []


@pytest.mark.parametrize("entry", metadata.entry_points(group="mlsys.components"), ids=lambda entry: entry.name)
def test_entry_point__loads_a_component_of_its_kind(entry: metadata.EntryPoint) -> None:
    component = entry.load()
    assert issubclass(component, Component)
    assert entry.name.partition(".")[0] == component.kind
