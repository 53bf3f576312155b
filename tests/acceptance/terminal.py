"""Commands in a terminal, without a server: a folder to run them in, what they print, what they answer as JSON."""

import json
from pathlib import Path
from typing import Any

import front
import serving

Place = dict[str, Path]
"""``home``, ``config`` and ``data``."""


def place(folder: Path) -> Place:
    """With hourly() as ``hourly.parquet``, and the model ``quick`` of it."""
    front.hourly().to_parquet(folder / "hourly.parquet")
    return {"home": folder / "home", "config": front.configure(folder, {"quick": front.definition()}), "data": folder}


def mlsys(place: Place, *words: str, code: int = 0) -> str:
    """All that a command prints for a person."""
    return "".join(_run(place, *words, code=code))


def answered(place: Place, *words: str, code: int = 0) -> Any:
    return json.loads(_run(place, *words, "--json", code=code)[0])


def printed(place: Place, *words: str) -> str:
    """What a command prints for the next one."""
    return _run(place, *words, code=0)[0]


def _run(place: Place, *words: str, code: int) -> tuple[str, str]:
    found = serving.cli(*words, **place)
    assert found.returncode == code, found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    return found.stdout, found.stderr
