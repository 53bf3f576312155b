"""config.load: where values come from, what is refused and how it is said; and that config.yaml says what the code does."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, asdict, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from mlsys import config, declarations, errors
from mlsys.pipelines import definition
from mlsys.scheduling import declaring

SHIPPED = Path(__file__).parents[2] / "config.yaml"
SECRET = "postgresql+psycopg2://me:hunter2@db/mlsys"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder: no config.yaml of the project is picked up."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str = "", overrides: Mapping[str, Any] | None = None, **environ: str) -> config.Config:
    file = Path("given") / "config.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return config.load(file, environ=environ, overrides=overrides)


def refused(text: str = "", overrides: Mapping[str, Any] | None = None, **environ: str) -> str:
    with pytest.raises(errors.ConfigError) as caught:
        load(text, overrides, **environ)
    return caught.value.message


# -- where values come from


def test_load__without_a_file_gives_the_defaults(folder: Path) -> None:
    found = config.load(None, environ={})
    assert (found.file, found.home, found.server.host, found.server.port) == (None, folder / ".mlsys", "127.0.0.1", 5000)
    assert found.data.roots == (Path("/data"), folder / "data")
    assert (found.database.url, found.artifacts.url, found.models) == ("", "", {})


def test_load__reads_config_yaml_of_the_working_folder(folder: Path) -> None:
    (folder / "config.yaml").write_text("server: {port: 5001}")
    assert config.load(None, environ={}).server.port == 5001


def test_load__an_empty_file_and_an_empty_section_are_the_defaults() -> None:
    assert load("").server == load("server:\nmodels:\ndata:\n  connections:\n").server == config.Server()


def test_load__environment_wins_over_file_and_overrides_win_over_both() -> None:
    text = "server: {port: 1, threads: 1, host: a}"
    found = load(text, {"server.port": 3, "server.host": None}, MLSYS_SERVER__PORT="2", MLSYS_SERVER__THREADS="2").server
    assert (found.port, found.threads, found.host) == (3, 2, "a")


def test_load__environment_is_read_by_the_keys_type(folder: Path) -> None:
    found = load(
        MLSYS_HOME="state",
        MLSYS_DATA__ROOTS="/data:./data::",
        MLSYS_SERVER__ALLOWED_HOSTS="a.example, b.example",
        MLSYS_DATABASE__STATEMENT_TIMEOUT_SECONDS="2.5",
        MLSYS_DATABASE__URL="",
        MLSYS_LOGGING__LEVEL="DEBUG",
        MLSYS_DATA__CONNECTIONS__PLANT="sqlite:///plant.db",
    )
    assert found.home == folder / "state"
    assert found.data.roots == (Path("/data"), folder / "data")
    assert found.server.allowed_hosts == ("a.example", "b.example")
    assert found.database.statement_timeout_seconds == 2.5
    assert found.logging.level == "debug"
    assert found.data.connections == {"plant": "sqlite:///plant.db"}


def test_load__relative_paths_start_at_the_file_or_the_working_folder(folder: Path) -> None:
    text = "home: state\ndata: {roots: [/abs, here]}\nartifacts: {url: blobs}"
    found = load(text)
    assert (found.home, found.data.roots) == (folder / "given/state", (Path("/abs"), folder / "given/here"))
    assert found.artifacts.url == str(folder / "given/blobs")
    moved = load(text, {"home": Path("flag")}, MLSYS_ARTIFACTS__URL="variable")
    assert (moved.home, moved.artifacts.url) == (folder / "flag", str(folder / "variable"))


def test_load__environment_reaches_deep_into_models_as_yaml() -> None:
    text = "models: {My-Model.1: {horizon: P1D, model: {params: {seed: 1}}}}"
    found = load(
        text,
        MLSYS_MODELS__MY_MODEL_1__MODEL__PARAMS__NUM_LEAVES="63",
        MLSYS_MODELS__MY_MODEL_1__EXOGENOUS="[a, b]",
        MLSYS_MODELS__NEW__TARGET="y",
    )
    assert found.models == {
        "My-Model.1": {"horizon": "P1D", "model": {"params": {"seed": 1, "num_leaves": 63}}, "exogenous": ["a", "b"]},
        "new": {"target": "y"},
    }


def test_load__environment_reaches_into_sinks_and_their_secrets_stay_hidden() -> None:
    found = load(MLSYS_EVENTS__SINKS__BROKER="{type: redis}", MLSYS_EVENTS__SINKS__BROKER__URL="redis://:hunter2@x:1/0")
    assert found.events.sinks == {"broker": {"type": "redis", "url": "redis://:hunter2@x:1/0"}}
    found = load("notifications: {targets: {ops: {type: email, password: hunter2}}}", MLSYS_NOTIFICATIONS__TARGETS__OPS__PORT="2525")
    assert found.notifications.targets["ops"]["port"] == 2525
    assert "hunter2" not in f"{found} {config.in_force(found)}"


def test_load__an_override_of_one_model_leaves_its_alias_alone() -> None:
    found = load("models: {a: &x {horizon: P1D}, b: *x, c: {<<: *x, target: y}}", MLSYS_MODELS__A__HORIZON="P2D")
    assert found.models == {"a": {"horizon": "P2D"}, "b": {"horizon": "P1D"}, "c": {"horizon": "P1D", "target": "y"}}


def test_load__leaves_other_variables_alone() -> None:
    assert load(MLSYS_URL="http://x", MLSYS_POSTGRES_BIN="/x", MLSYS_SERVER_PORT="tcp://k8s", OTHER__KEY="1").server == config.Server()


def test_load__dates_in_models_stay_text() -> None:
    assert load("models: {m: {since: 2017-01-01}}").models == {"m": {"since": "2017-01-01"}}


def test_config__is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        load().server.port = 1  # type: ignore[misc]


# -- what is refused, and how it is said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {prot: 1}", ["server.prot", "line 1", "server.port"]),
        ("\nsever: {port: 1}", ["sever", "line 2", "nearest is server"]),
        ("port: 1", ["port", "nearest is server.port"]),
        ("server: {pool_sise: 1}", ["server.pool_sise", "database.pool_size"]),
        ("scheduler: {}", ["scheduler", "The nearest is schedules"]),
        ("execution: {enginee: dask}", ["execution.enginee", "The nearest is execution."]),
        ("server: {port: 70000}", ["server.port", "a whole number from 0 to 65535", "not 70000"]),
        ("server: {port: true}", ["server.port", "whole number", "not True"]),
        ("server: {port: '80'}", ["server.port", "not '80'"]),
        ("server: {port: 5.0}", ["server.port", "not 5.0"]),
        ("server: {port: }", ["server.port", "it is empty"]),
        ("server: {host: 5}", ["server.host", "put it in quotes"]),
        ("server: {allowed_hosts: a.example}", ["server.allowed_hosts", "a list", "[a.example]"]),
        ("server: {allowed_hosts: [a, 5]}", ["server.allowed_hosts", "part 2"]),
        ("server: 5", ["server", "expected a mapping with keys such as server.host"]),
        ("database: {statement_timeout_seconds: .nan}", ["database.statement_timeout_seconds", "a number from"]),
        ("database: {url: 'mysql://x'}", ["database.url", "postgresql+psycopg2://user:password@host/name"]),
        ("data: {connections: [x]}", ["data.connections", "a mapping of names"]),
        ("data: {connections: {a: 5}}", ["data.connections.a", "a database URL"]),
        ("data: {roots: ['']}", ["data.roots", "part 1", "the path of a folder"]),
        ("home: ''", ["home", "it is empty"]),
        ("home: ~nobody-here/x", ["home", "no user"]),
        ("artifacts: {url: 's3://bucket'}", ["artifacts.url", "folders only"]),
        ("logging: {level: loud}", ["logging.level", "one of debug, info, warning, error", "not 'loud'"]),
        ("models: {'a b': {}}", ["models", "'a b' is no name"]),
        ("models:\n  m: 5", ["models.m", "line 2", "a mapping"]),
    ],
)
def test_file__a_wrong_value_is_named_with_its_remedy(text: str, expected: list[str]) -> None:
    message = refused(text)
    assert message.count("\n") == 1
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MLSYS_SERVER__PROT", "1", ["MLSYS_SERVER__PROT", "The nearest is MLSYS_SERVER__PORT"]),
        ("MLSYS_SERVER__PORT__X", "1", ["MLSYS_SERVER__PORT__X", "The nearest is MLSYS_SERVER__PORT"]),
        ("MLSYS_SCHEDULING__X", "1", ["MLSYS_SCHEDULING__X", "The nearest is MLSYS_"]),
        ("MLSYS_SERVER__", "1", ["MLSYS_SERVER__", "The nearest is MLSYS_SERVER__"]),
        ("MLSYS_SERVER__PORT", "many", ["server.port (MLSYS_SERVER__PORT)", "not 'many'"]),
        ("MLSYS_SERVER__PORT", "", ["server.port (MLSYS_SERVER__PORT)", "it is empty"]),
        ("MLSYS_DATABASE__STATEMENT_TIMEOUT_SECONDS", "1.2.3", ["database.statement_timeout_seconds", "not '1.2.3'"]),
        ("MLSYS_HOME", "", ["home (MLSYS_HOME)", "the path of a folder"]),
        ("MLSYS_MODELS__M", "5", ["models.m (MLSYS_MODELS__M)", "a mapping"]),
        ("MLSYS_MODELS__M__X", "[1", ["MLSYS_MODELS__M__X, line 1"]),
        ("MLSYS_MODELS__M__X", "{a: 1, a: 2}", ["MLSYS_MODELS__M__X, line 1", "given twice"]),
    ],
)
def test_environment__a_wrong_variable_is_named_with_its_remedy(name: str, value: str, expected: list[str]) -> None:
    message = refused("", None, **{name: value})
    for part in expected:
        assert part in message


def test_overrides__an_unknown_key_is_refused() -> None:
    assert "server.prot (command line)" in refused(overrides={"server.prot": 1})


def test_load__lists_all_problems_at_once() -> None:
    message = refused("server: {prot: 1, port: x}\nlogging: {level: loud}", MLSYS_X__Y="1")
    assert [part in message for part in ("server.prot", "server.port (", "logging.level", "MLSYS_X__Y")] == [True] * 4
    assert message.count("\n- ") == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server:\n\tport: 1", ["line 2", "Indent with spaces"]),
        ("server: {port: 1", ["line 1"]),
        ("a: 1\n---\nb: 2", ["line 2"]),
        ("server:\n  port: 1\n  host: a\n  port: 2", ["line 4", "server.port is given twice", "line 2"]),
        ("models:\n  m: {on: 1}", ["line 2", "the key on", "quotes"]),
        ("home: !!python/object/apply:os.system [ls]", ["line 1", "not allowed"]),
        ("home: !!binary aGk=", ["line 1", "not allowed"]),
        ("home: *nothing", ["line 1"]),
        ("- 1", ["top level"]),
        ("just words", ["top level"]),
        ("home: \x01", ["line 1", "a character that YAML does not allow"]),
        ("models: " + "{m: " * 40 + "1" + "}" * 40, ["nested too deeply"]),
        ("home: " + "[" * 100_000, ["nested too deeply"]),
        ("models: &a {m: *a}", ["nested too deeply"]),
        ("x0: &x0 [1, 1]\n" + "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 12)), ["aliases expand"]),
        ("# " + "x" * 2_000_000, ["larger than"]),
    ],
)
def test_file__that_is_not_sound_yaml_is_refused_by_line(text: str, expected: list[str]) -> None:
    message = refused(text)
    for part in ["given/config.yaml", *expected]:
        assert part in message


def test_file__missing_unreadable_or_not_text_is_said_so(folder: Path) -> None:
    (folder / "latin").write_bytes(b"home: x\n# caf\xe9")
    for name, expected in {
        "absent.yaml": "no such file",
        ".": "not a regular file",
        "/dev/zero": "not a regular file",
        "latin": "line 2",
    }.items():
        with pytest.raises(errors.ConfigError, match=expected):
            config.load(Path(name), environ={})


# -- secrets


def test_repr__masks_secrets() -> None:
    found = load(f"data: {{connections: {{plant: '{SECRET}'}}}}", MLSYS_DATABASE__URL=SECRET)
    assert found.database.url == found.data.connections["plant"] == SECRET
    assert "hunter2" not in repr(found) + str(found.database) + f"{found.data}"
    assert "'plant': '***'" in repr(found)


@pytest.mark.parametrize("text", ["database: {url: 'my://me:hunter2@db'}", "database: my://hunter2", "data: {connections: {a: hunter2}}"])
def test_problems__do_not_repeat_secrets(text: str) -> None:
    assert "hunter2" not in refused(text)


# -- the shipped file and the code agree


def test_shipped__explains_every_key_in_the_codes_words_and_shows_its_default() -> None:
    lines = [line.strip() for line in SHIPPED.read_text(encoding="utf-8").splitlines()]
    written = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    for setting in config.describe():
        section, _, name = setting.key.rpartition(".")
        found = written[section][name] if section else written[name]
        assert found == setting.default or setting.key in ("models", "schedules")
        assert lines.count(f"# {setting.text}") == 1
        assert lines[lines.index(f"# {setting.text}") + 1].startswith(f"{name}:")


def test_shipped__explains_every_key_of_the_model() -> None:
    lines = SHIPPED.read_text(encoding="utf-8").partition("\nschedules:")[0].splitlines()
    keys = [n for n, line in enumerate(lines) if line.startswith("    ") and not line.lstrip().startswith("#")]
    declared = config.load(SHIPPED, environ={}).models["forecast_model"]
    assert [lines[n].strip().partition(":")[0] for n in keys] == list(declared)
    assert set(declared) == set(definition.normalise(declared))
    assert all(lines[n - 1].startswith("    # ") for n in keys)


def test_shipped__gives_the_defaults_and_the_forecast_model(folder: Path) -> None:
    copy = folder / "config.yaml"
    copy.write_bytes(SHIPPED.read_bytes())
    found = config.load(copy, environ={})
    copy.unlink()
    assert replace(found, file=None, models={}, schedules={}) == config.load(None, environ={})
    model = found.models["forecast_model"]
    assert (model["timestamp"], model["target"], model["frequency"], model["horizon"]) == ("start_of_quarter", "power", "15min", "P1D")
    assert model["exogenous"] == ["cloudcover_low", "cloudcover_mid", "cloudcover_high"]


def test_describe__every_key_has_a_type_and_a_text() -> None:
    described = config.describe()
    assert len({setting.key for setting in described}) == len(described) >= 18
    assert all(setting.type and setting.text.endswith(".") for setting in described)


def test_import__brings_no_large_library() -> None:
    large = {"yaml", "pandas", "numpy", "pyarrow", "sqlalchemy", "flask", "difflib"}
    code = f"import sys, mlsys.config; print(sorted({large} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SHIPPED.parent)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("slip", "meant"), [("MLSYS_HOM", "MLSYS_HOME"), ("MLSYS_DATA_ROOTS", "MLSYS_DATA__ROOTS"), ("MLSYS_URLS", "MLSYS_URL")]
)
def test_environment__a_slip_without_double_underscore_is_named(slip: str, meant: str) -> None:
    with pytest.raises(errors.ConfigError, match=f"{slip}: .* Did you mean {meant}\\?"):
        config.load(None, environ={slip: "x"})


def test_environment__what_kubernetes_sets_for_a_service_is_left_alone() -> None:
    assert config.load(None, environ={"MLSYS_SERVER_PORT": "tcp://10.0.0.1:80", "MLSYS_URL": "http://x"}).server.port == 5000


def test_in_force__is_plain_and_masks_secrets() -> None:
    overrides = {"database.url": "postgresql+psycopg2://u:hidden@h/d", "data.connections": {"plant": "postgresql://u:hidden@h/d"}}
    shown = config.in_force(config.load(None, environ={}, overrides=overrides))
    assert set(shown) == {setting.key for setting in config.describe()} - {"models", "schedules"}
    assert (shown["database.url"], shown["data.connections"], shown["server.port"]) == ("***", {"plant": "***"}, 5000)
    assert "hidden" not in json.dumps(shown)


def test_shipped__examples_of_sinks_and_notifications_are_valid(folder: Path) -> None:
    found = [line.removeprefix("  #   ") for line in SHIPPED.read_text(encoding="utf-8").splitlines() if line.startswith("  #   ")]
    sinks = {name: spec for line in found for name, spec in yaml.safe_load(line).items()}
    people = {name: sinks.pop(name) for name in ("chat", "mail")}
    given = config.load(None, environ={}, overrides={"events.sinks": sinks, "notifications.targets": people})
    built = declarations.sinks(given, engine=sa.create_engine("postgresql+psycopg2://"), post=lambda *_: 200)
    assert sorted(built) == ["notification:chat", "notification:mail", "sink:broker", "sink:local"]


def test_shipped__schedule_is_valid_and_shows_every_key_with_its_default() -> None:
    found = config.load(SHIPPED, environ={})
    (schedule,) = declarations.scheduled(found, declarations.declared(found)).values()
    written = dict(found.schedules["weekly-retrain"])
    assert set(written) == set(asdict(schedule)) - {"name"}
    needed = {name: written[name] for name in ("kind", "model_name", "cron", "window")}
    assert replace(schedule, enabled=True) == declaring.read("weekly-retrain", needed)
