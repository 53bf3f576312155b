"""Each row of the table against the one server: it is refused as it should be, and leaves no trace."""

import os
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

import front
import pytest
import serving

from mlsys.registry.tokens import SCOPES
from security import inputs, table
from security.target import Mark, Target

FEWEST = 150
TEMPORARY = Path(tempfile.gettempdir())
_CODE = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), str(serving.REPOSITORY), "/usr/share/zoneinfo", "/usr/lib", "/lib"]
_OPENS = {"open", "os.listdir", "os.scandir", "os.remove", "os.rename"}
_NEVER = {"subprocess.Popen", "os.exec", "os.system", "os.posix_spawn", "pickle.find_class", "socket.connect"}


@pytest.mark.parametrize("row", inputs.TABLE, ids=str)
def test_attack__comes_to_nothing(target: Target, row: table.Row, note: Callable[[tuple[str, str, str, str]], None]) -> None:
    before, mark = target.state(), target.mark()
    try:
        found = row.attack(target)
        outcome, wrong = table.outcome(found), [table.trouble(found), *_traces(target, mark)]
    except OSError as error:
        outcome, wrong = f"{type(error).__name__}: {error}", []
    if row.may_change is not None:
        wrong += [f"{name} changed" for name, digest in target.state().items() if before.get(name) != digest and name not in row.may_change]
    wrong += [] if outcome == row.wanted else [f"wanted {row.wanted}"]
    told = "; ".join(filter(None, wrong))
    note((row.category, row.what, outcome, told or "ok"))
    assert not told, f"{outcome}: {told}"


def _traces(target: Target, mark: Mark) -> list[str]:
    """What the attack reached or broke."""
    found = [] if target.alive else ["the process is gone"]
    found += [f"{name or 'the folder'} outside was opened" for name in set(target.canary.touched())]
    for event, *given in target.noted(mark):
        if event in _NEVER or (event in _OPENS and not _own(target, given[0])):
            found.append(f"{event} {' '.join(given)[:100]}")
    logged = target.logged(mark)
    if "Traceback" in logged:
        found.append("a traceback in the log")
    if any(not (char.isprintable() or char == "\n") for char in logged) or "\nFORGED" in logged:
        found.append("the log was written to")
    found += [f"token of {name} in the log" for name in SCOPES if target.known[name.upper()].split("_")[2] in logged]
    return found


def _own(target: Target, name: str) -> bool:
    """Whether the server may open that: its code, its home, and what lies inside its data root."""
    if name.isdigit():
        return True  # a descriptor
    path = Path(os.path.abspath(name))
    if TEMPORARY in (path, path.parent):
        return True  # where waitress keeps a body that is large
    real = Path(os.path.realpath(name))
    places = [*_CODE, str(target.served.home), str(target.names)]
    return any(path.is_relative_to(place) for place in places) or (path.is_relative_to(target.data) and real.is_relative_to(target.data))


def test_watch__sees_what_it_is_there_for(target: Target) -> None:
    before, mark = target.state(), target.mark()
    (target.outside / "secret.parquet").read_bytes()
    target.ask("POST", "/model/promote", target.filled({"model_name": "quick", "model_version_id": "$FIRST"}))
    target.ask("POST", "/model/promote", target.filled({"model_name": "quick", "model_version_id": "$SECOND"}))
    target.ended(target.ask("POST", "/job/train", front.TRAIN | {"promote": "never"}).json["id"])
    assert {name for name, digest in target.state().items() if before[name] != digest} >= {"promotions", "events", "runs", "model_versions"}
    assert "secret.parquet outside was opened" in _traces(target, mark)
    opened = [given[0] for event, *given in target.noted(mark) if event == "open"]
    assert str(target.data / "hourly.parquet") in opened
    assert not _own(target, "/etc/passwd")
    assert not _own(target, str(target.data / "link.parquet"))
    assert not _own(target, str(target.data.parent / "data-sibling" / "secret.parquet"))


def test_table__is_as_long_as_it_claims() -> None:
    assert len(inputs.TABLE) >= FEWEST
    assert len({str(row) for row in inputs.TABLE}) == len(inputs.TABLE)
