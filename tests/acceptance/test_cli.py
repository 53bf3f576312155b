"""The command line: what it prints, how it exits, without a server."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import front
import pytest
import serving

WINDOW = ("--start", "2020-01-01", "--end", "2020-03-15")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A home with one trained model, its configuration and its data."""
    folder = tmp_path_factory.mktemp("cli")
    front.hourly().to_parquet(folder / "hourly.parquet")
    front.hourly().assign(power=float("nan")).to_parquet(folder / "empty.parquet")
    file = front.configure(folder, {"quick": front.definition(), "other": front.definition()})
    return {"home": folder / "home", "config": file, "data": folder}


def mlsys(place: dict[str, Path], *words: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    found = serving.cli(*words, **place)
    assert found.returncode == code, found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    return found


def answered(place: dict[str, Path], *words: str) -> Any:
    """What --json prints: JSON and nothing else."""
    return json.loads(mlsys(place, *words, "--json").stdout)


@pytest.fixture(scope="module")
def trained(place: dict[str, Path]) -> list[str]:
    """Two versions, the first in production."""
    first = answered(place, "train", "quick", *WINDOW)
    assert (first["status"], first["trigger"], first["result"]["promoted"]) == ("succeeded", {"type": "cli"}, True)
    second = answered(place, "train", "quick", *WINDOW, "--promote", "never", "--param", "num_iterations=5", "--param", "seed=3")
    assert second["spec"]["params"] == {"num_iterations": 5, "seed": 3}
    assert serving.postgres_of(place["home"]) == []
    return [run["result"]["model_version_id"] for run in (first, second)]


def test_train__tells_people_what_happened(place: dict[str, Path]) -> None:
    shown = mlsys(place, "train", "other", *WINDOW).stdout
    for words in ("train other: succeeded", "the gate says: accepted; now in production", "mae", "better_than_naive"):
        assert words in shown, shown


def test_train__that_fails_exits_1_with_the_reason(place: dict[str, Path]) -> None:
    found = mlsys(place, "train", "other", *WINDOW, "--file", "empty.parquet", code=1)
    assert "no_target" in found.stdout
    failed = serving.cli("train", "other", *WINDOW, "--file", "empty.parquet", "--json", **place)
    assert (failed.returncode, json.loads(failed.stdout)["status"]) == (1, "failed")


def test_predict__without_a_server(place: dict[str, Path], trained: list[str]) -> None:
    run = answered(place, "predict", "quick", "--start", "2020-03-16", "--end", "2020-03-17")
    assert (run["status"], run["result"]["model_version_id"], run["result"]["output"]["rows"]) == ("succeeded", trained[0], 48)
    assert Path(run["result"]["output"]["uri"].removeprefix("file://")).is_file()
    shown = mlsys(place, "predict", "quick", "--start", "2020-03-16", "--end", "2020-03-17", "--version-id", trained[1]).stdout
    assert f"48 rows by version {trained[1]}" in shown


def test_runs__lists_and_shows(place: dict[str, Path], trained: list[str]) -> None:
    listed = answered(place, "runs", "--model", "quick", "--kind", "train")["items"]
    assert [run["result"]["model_version_id"] for run in listed] == trained[::-1]
    one = answered(place, "runs", listed[0]["id"])
    assert [change["status"] for change in one["history"]] == ["queued", "running", "succeeded"]
    shown = mlsys(place, "runs", listed[0]["id"]).stdout
    assert "History" in shown
    assert "Read 1800 rows" in shown
    assert "There is no run" in mlsys(place, "runs", "nothing", code=2).stderr


def test_events__of_commands_have_their_numbers_without_a_server(place: dict[str, Path], trained: list[str]) -> None:
    found = answered(place, "events", "--after", "0", "--model", "quick", "--type", "run.*,model.promoted")["items"]
    assert [event["type"] for event in found[:4]] == ["run.queued", "run.started", "model.promoted", "run.succeeded"]
    assert [event["sequence"] for event in found] == sorted(event["sequence"] for event in found)
    latest = answered(place, "events", "--model", "quick", "--type", "model.created", "--limit", "1")["items"]
    assert [event["data"]["model_version_id"] for event in latest] == [trained[1]]
    assert f"model_version_id={trained[1]}" in mlsys(place, "events", "--limit", "200").stdout
    assert "No event is named model.made" in mlsys(place, "events", "--type", "model.made", code=2).stderr
    assert "mlsys serve" in mlsys(place, "events", "--follow", code=1).stderr


def test_promote_and_demote__and_what_models_shows(place: dict[str, Path], trained: list[str]) -> None:
    first, second = trained
    promoted = answered(place, "promote", "quick", second, "--reason", "to try", "--expected-production", first)
    assert (promoted["model_version_id"], promoted["actor"], promoted["reason"]) == (second, "cli", "to try")
    assert "In production is" in mlsys(place, "promote", "quick", first, "--expected-production", first, code=1).stderr
    shown = mlsys(place, "models", "quick").stdout
    assert all(word in shown for word in (first, second, "archived", "to try"))
    assert answered(place, "models", "quick")["production"] == second
    assert f"{first} is in production" in mlsys(place, "demote", "quick").stdout
    assert "promote one by its id" in mlsys(place, "demote", "quick", code=1).stderr
    assert [model["name"] for model in answered(place, "models")["items"]] == ["other", "quick"]


def test_models__explains_a_version_and_one_of_its_forecasts(place: dict[str, Path], trained: list[str]) -> None:
    shown = mlsys(place, "models", "quick", "--explain", trained[0], "--timestamp", "2020-03-16T10:00:00Z").stdout
    for words in ("error grows by", "wind", "MAE ", "Forecast of 2020-03-16 10:00:00", "without knowing any to"):
        assert words in shown, shown
    found = answered(place, "models", "quick", "--explain", trained[1])
    assert (found["model_version_id"], found["prediction"]) == (trained[1], None)
    assert "no version 'nothing'" in mlsys(place, "models", "quick", "--explain", "nothing", code=2).stderr
    assert "--explain VERSION_ID" in mlsys(place, "models", "quick", "--timestamp", "2020-03-16", code=2).stderr


def test_db__moves_the_schema_and_says_where_it_stands(tmp_path: Path, place: dict[str, Path]) -> None:
    run = partial(mlsys, place | {"home": tmp_path / "home"})
    assert run("db", "upgrade", "000").stdout == "empty -> 000\n"
    assert json.loads(run("db", "upgrade", "--json").stdout) == {"from": "000", "to": serving.HEAD}
    assert run("db", "downgrade", "001").stdout == f"{serving.HEAD} -> 000\n"
    assert json.loads(run("db", "current", "--json").stdout) == {"revision": "000"}
    assert "There is no revision '9'" in run("db", "upgrade", "9", code=2).stderr


def test_db__downgrade_that_loses_rows_needs_force(place: dict[str, Path], tmp_path: Path) -> None:
    run = partial(mlsys, place | {"home": tmp_path / "home"})
    run("db", "upgrade")
    assert "would lose the rows of: models" in run("db", "downgrade", "000", code=1).stderr
    assert run("db", "downgrade", "000", "--force").stdout == f"{serving.HEAD} -> empty\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train",), "Missing argument 'MODEL'"),
        (("train", "quick"), "Missing option '--start'"),
        (("train", "quick", *WINDOW, "--promote", "perhaps"), "perhaps"),
        (("train", "quick", *WINDOW, "--param", "seed"), "NAME=VALUE"),
        (("runs", "--limit", "0"), "--limit"),
        (("fly",), "No such command 'fly'"),
        (("train", "quick", "--colour", "red"), "--colour"),
    ],
)
def test_usage__wrong_exits_2_and_starts_nothing(place: dict[str, Path], tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    assert told in mlsys(place | {"home": tmp_path / "home"}, *words, code=2).stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train", "nothing", *WINDOW), "model_name: There is no model 'nothing'"),
        (("train", "quick", *WINDOW, "--file", "../secret"), "file_path:"),
        (("train", "quick", *WINDOW, "--param", "seeed=1"), "params.seeed:"),
    ],
)
def test_input__wrong_exits_2_naming_the_field(place: dict[str, Path], words: tuple[str, ...], told: str) -> None:
    assert told in mlsys(place, *words, code=2).stderr


def test_check_config__names_the_nearest_key(place: dict[str, Path], tmp_path: Path) -> None:
    assert "The configuration is valid" in mlsys(place, "check-config").stdout
    file = tmp_path / "config.yaml"
    file.write_text('{"sever": {"port": 1}, "server": {"prot": 5000, "threads": "many"}, "datum": {}}')
    told = mlsys(place | {"config": file}, "check-config", code=2).stderr
    assert all(name in told for name in ("nearest is server of", "nearest is server.port", "server.threads", "nearest is data of")), told
    file.write_text('{"models": {"m": {"sorce": {}, "timestamp": "t", "target": "y"}}}')
    told = mlsys(place | {"config": file}, "check-config", code=2).stderr
    assert "models.m.sorce" in told
    assert "source" in told.replace("sorce", "")


def test_check_config__holds_the_columns_that_are_named_against_the_data(place: dict[str, Path], tmp_path: Path) -> None:
    file, away = tmp_path / "config.yaml", {"data": {"connections": {"away": "postgresql+psycopg2://nobody@127.0.0.1:1/none"}}}
    known = {"exogenous": {"known": {"windd": "P1D"}}}
    models = {
        "well": front.definition(),
        "odd": front.definition(target="powr", series_key=["site"], exogenous=["wind", "windd"], features=known),
        "later": front.definition(source={"type": "parquet", "path": "later.parquet"}),
        "unreachable": front.definition(source={"type": "sql", "connection": "away", "table": "power"}),
    }
    file.write_text(json.dumps({"models": models} | away))
    told = mlsys(place | {"config": file}, "check-config", code=2).stderr
    assert "models.odd.target: The source has no column 'powr'; did you mean 'power'?" in told
    for key in ("series_key.0", "exogenous.1", "features.exogenous.known.windd"):
        assert f"models.odd.{key}: The source has no column" in told
    assert told.count("has no column") == 4
    del models["odd"]
    file.write_text(json.dumps({"models": models} | away))
    told = mlsys(place | {"config": file}, "check-config").stderr
    assert "models.later.source.path" in told
    assert "models.unreachable.source: Its columns cannot be looked at" in told


def test_unreachable_server__exits_1_and_says_how_to_start_one(place: dict[str, Path]) -> None:
    found = serving.cli("runs", **place, MLSYS_URL="http://127.0.0.1:1")
    assert found.returncode == 1
    assert "mlsys serve" in found.stderr


_HELP = """
import sys, mlsys.cli
try:
    mlsys.cli.main(["--help"])
except SystemExit:
    print(sorted({module.split(".")[0] for module in sys.modules}))
"""


def test_help__imports_nothing_heavy() -> None:
    found = subprocess.run([sys.executable, "-c", _HELP], capture_output=True, text=True, check=True, cwd=serving.REPOSITORY)
    for module in ("pandas", "sqlalchemy", "flask", "pyarrow", "numpy", "lightgbm", "alembic", "waitress", "marshmallow", "yaml"):
        assert f"'{module}'" not in found.stdout.splitlines()[-1], module
    for command in ("serve", "demo", "train", "predict", "runs", "models", "promote", "demote", "db", "check-config"):
        assert f"  {command} " in found.stdout
