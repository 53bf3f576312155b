"""The one server of all attacks, and the table that the test run prints of them."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import front
import pytest

from mlsys.registry.tokens import SCOPES
from security import target as targets
from security.target import Target

TABLE = pytest.StashKey[list[tuple[str, str, str, str]]]()
WIDTHS = (17, 55, 40)
HEADERS = ("category", "input", "outcome", "")
MODELS = {"quick": front.definition(), "dated": front.definition(source={"type": "dataset", "name": "site"})}
SCHEDULE = {"kind": "train", "model_name": "quick", "cron": "@yearly", "window": {"start": "-P30D", "end": "PT0S"}, "enabled": False}


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = []


@pytest.fixture(scope="session")
def target(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("attacked")
    _lay_out(folder)
    url = embedded_server.clone()
    settings = {"EXECUTION__WORKERS": "1", "WEBHOOKS__ALLOWED_HOSTS": "127.0.0.1", "DATA__MAX_ROWS": "1000000"}
    with targets.serve(folder, url, **{f"MLSYS_{name}": value for name, value in settings.items()}) as found:
        _furnish(found)
        yield found
    embedded_server.drop(url)


def _lay_out(folder: Path) -> None:
    """A data root with a file and every kind of way out of it."""
    data, outside = folder / "data", folder / "outside"
    for place in (data, outside, folder / "data-sibling", data / "mixed"):
        place.mkdir()
    for file in (data / "hourly.parquet", outside / "secret.parquet", folder / "data-sibling" / "secret.parquet"):
        front.hourly().to_parquet(file)
    (data / "link.parquet").symlink_to(outside / "secret.parquet")
    (data / "linked").symlink_to(outside)
    (data / "mixed" / "a.parquet").symlink_to(outside / "secret.parquet")
    (data / "device.parquet").symlink_to("/dev/zero")
    (data / "round.parquet").symlink_to(data / "round.parquet")
    os.mkfifo(data / "pipe.parquet")
    front.configure(folder, MODELS)


def _furnish(target: Target) -> None:
    """Two versions of a model, the second in production, and one of everything else."""
    target.known |= _tokens(target, target.data.parent)
    first, second = (_trained(target) for _ in range(2))
    for version in (first, second):
        assert target.ask("POST", "/model/promote", {"model_name": "quick", "model_version_id": version}).status == 200
    target.ask("POST", "/datasets", {"name": "site", "timestamp": "time", "columns": {"power": "number", "note": "text"}})
    target.ask("POST", "/datasets", {"name": "free", "timestamp": "time"})
    target.ask("POST", "/schedules", {"name": "yearly", **SCHEDULE})
    hook = target.ask("POST", "/webhooks", {"url": "http://127.0.0.1:1/", "events": ["*"], "enabled": False}).json
    target.known |= {"FIRST": first, "SECOND": second, "HOOK": hook["id"], "DATA": str(target.data), "OUTSIDE": str(target.outside)}


def _trained(target: Target) -> str:
    run = target.ended(target.ask("POST", "/job/train", front.TRAIN | {"promote": "never"}).json["id"])
    return str(run["result"]["model_version_id"])


def _tokens(target: Target, folder: Path) -> dict[str, str]:
    """One of each scope, one that was taken back and one that has expired, made as an operator makes them: on the database itself."""
    tokens = front.unstarted(folder, MODELS, **{"database.url": target.engine.url.render_as_string(hide_password=False)}).services.tokens
    found = {scope.upper(): tokens.create(scope, scope, by="operator")[1] for scope in SCOPES}
    revoked, found["REVOKED"] = tokens.create("revoked", "admin", by="operator")
    tokens.revoke(revoked.id, by="operator")
    found["EXPIRED"] = tokens.create("expired", "admin", by="operator", expires_at=datetime.now(UTC) + timedelta(milliseconds=1))[1]
    return found


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Any:
    """Takes down (category, input, outcome, verdict)."""
    return request.config.stash[TABLE].append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    table = config.stash[TABLE]
    if not table:
        return
    terminalreporter.section("attacks tried, and what came of them")
    for *told, verdict in (HEADERS, *table):
        terminalreporter.write_line(" ".join(cell[:width].ljust(width) for cell, width in zip(told, WIDTHS, strict=True)) + " " + verdict)
    outstanding = [row for row in table if row[3] != "ok"]
    terminalreporter.write_line(f"{len(table)} inputs tried, {len(outstanding)} outstanding")
