"""docs/gate.md is held to the code: every check, option and setting, with its default."""

import inspect
import re
from pathlib import Path

import pytest

from mlsys.pipelines import base, build, settings

PAGE = (Path(__file__).parents[2] / "docs" / "gate.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]
CHECKS = {row[0].strip("`"): row for row in ROWS if len(row) == 5}
SETTINGS = {row[0].strip("`"): row[1] for row in ROWS if len(row) == 3}


def shown(value: object) -> str:
    return "null" if value is None else str(value)


def test_gate_docs__tell_every_setting_with_its_default() -> None:
    assert {name: shown(value) for name, value in settings.gate_defaults().items()} == SETTINGS


def test_gate_docs__tell_every_check() -> None:
    assert set(CHECKS) == set(settings.CHECKS)


@pytest.mark.parametrize("name", settings.CHECKS)
def test_gate_docs__tell_every_option_with_its_default(name: str) -> None:
    chosen = build.component_class(base.DataCheck, name, field="checks")
    known = {option: shown(parameter.default) for option, parameter in inspect.signature(chosen).parameters.items()}
    assert dict(re.findall(r"`(\w+): ([^`]+)`", CHECKS[name][2])) == known
    assert set(known) == set(getattr(chosen, "parameters", {}))
