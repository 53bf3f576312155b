"""Options that several commands share, and the configuration they lead to."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mlsys.config import Config, load

Command = Callable[..., Any]


def configured(command: Command) -> Command:
    """--config and --home."""
    command = click.option("--home", type=click.Path(path_type=Path), help="Folder of mlsys' own state (default .mlsys, or MLSYS_HOME).")(
        command
    )
    return click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration (default ./config.yaml).")(command)


def listening(command: Command) -> Command:
    """--host and --port."""
    command = click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (default 5000; 0: a free one).")(command)
    return click.option("--host", help="Address to listen on (default 127.0.0.1).")(command)


def as_json(command: Command) -> Command:
    return click.option("--json", "json_", is_flag=True, help="Print machine-readable JSON.")(command)


def read_config(config_file: Path | None, home: Path | None, **overrides: Any) -> Config:
    given = {name: value for name, value in overrides.items() if value is not None}
    if home is not None:
        given["home"] = str(home)
    return load(config_file, environ=os.environ, overrides=given)
