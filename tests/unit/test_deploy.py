"""What is shipped to run mlsys with: the image's file, compose, the unit. Held to the code; none has a password or lets somebody in."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlsys import config

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()
VARIABLES = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.M)


def test_dockerfile__copies_what_is_there_and_what_the_package_needs() -> None:
    copied = {name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M) for name in line.split()}
    assert copied == {line[1:] for line in IGNORED if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert {"README.md", *setup["metadata"]["license_files"].split()} <= copied


def test_dockerfile__is_of_two_stages_and_leaves_root_behind() -> None:
    stages = DOCKERFILE.split("\nFROM ")
    assert len(stages) == 3
    assert stages[1].startswith("${BASE} AS build")
    last = stages[2]
    assert last.startswith("${BASE}\n")
    assert last.index("USER 10001:10001") > last.index("RUN ")
    for word in ("libgomp1", "HEALTHCHECK", 'VOLUME ["/data", "/var/lib/mlsys"]', "STOPSIGNAL SIGTERM"):
        assert word in last, word
    assert not re.search(r"(?i)password|secret|token=", DOCKERFILE)


def test_dockerfile__its_settings_are_known() -> None:
    environ = dict(re.findall(r"(MLSYS_\w+)=(\S+)", DOCKERFILE))
    found = config.load(None, environ=environ)
    assert (found.home, found.data.roots) == (Path("/var/lib/mlsys"), (Path("/data"),))


def filled(text: str, **given: str) -> str:
    """As compose fills in variables: ``${NAME}``, ``${NAME:-default}``, and ``${NAME:?refusal}``, which raises."""

    def value(found: re.Match[str]) -> str:
        name, sign, rest = found.groups()
        if given.get(name):
            return given[name]
        if sign in (":?", "?"):
            raise KeyError(name)
        return rest or ""

    return re.sub(r"\$\{(\w+)(:-|:\?|\?)?([^}]*)\}", value, text)


def test_compose__its_settings_are_known_and_nobody_comes_in_without_a_token() -> None:
    environ = {name: filled(value, POSTGRES_PASSWORD="x") for name, value in COMPOSE["services"]["mlsys"]["environment"].items()}
    found = config.load(None, environ=environ)
    assert found.database.url == "postgresql+psycopg2://mlsys:x@db/mlsys"
    assert found.auth.required == "always"
    assert "mlsys" in found.server.allowed_hosts


def test_compose__has_no_default_password() -> None:
    for name in ("db", "mlsys"):
        secret = [value for key, value in COMPOSE["services"][name]["environment"].items() if re.search("PASSWORD|URL", key)]
        assert secret
        for value in secret:
            with pytest.raises(KeyError):
                filled(value)
    told = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text()))
    assert {name for name in told if not name.endswith("_IMAGE")} == set(VARIABLES)
    values = re.findall(r"^\w*PASSWORD\w*=(.*)$", (ROOT / ".env.example").read_text(), re.M)
    assert values == [""]
    assert COMPOSE["services"]["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana_password"


def test_compose__every_service_is_looked_after_and_none_is_open_to_the_world() -> None:
    for name, service in COMPOSE["services"].items():
        assert "healthcheck" in service or (name == "mlsys" and "HEALTHCHECK" in DOCKERFILE), name
        assert service["restart"] == "unless-stopped"
        assert "no-new-privileges:true" in service["security_opt"]
        for port in service.get("ports", ()):
            assert filled(port).startswith("127.0.0.1:"), name


def test_compose__mounts_files_that_are_there() -> None:
    mounts = [mount.split(":")[0] for service in COMPOSE["services"].values() for mount in service["volumes"]]
    own = [mount for mount in mounts if mount.startswith("./")]
    assert own
    assert [mount for mount in own if not (ROOT / mount).exists()] == []
    assert {"database", "home"} <= set(COMPOSE["volumes"]) >= {mount for mount in mounts if re.fullmatch(r"\w+", mount)}


def test_unit__is_one_that_systemd_takes(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "mlsys.service").read_text()
    for line in ("User=mlsys", "NoNewPrivileges=yes", "ProtectSystem=strict", "KillMode=mixed", "CapabilityBoundingSet="):
        assert line in text.splitlines()
    assert config.load(None, environ=dict(re.findall(r"(MLSYS_\w+)=(\S+)", text))).home == Path("/var/lib/mlsys")
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here (Debian package: systemd)")
    (tmp_path / "mlsys.service").write_text(text.replace("/opt/mlsys/bin/mlsys", "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "mlsys.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"})
    assert (done.returncode, done.stderr) == (0, "")
