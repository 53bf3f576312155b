"""``mlsys check-config``: reads everything that a start would read, opens nothing, and prints what is in force."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from mlsys.cli.options import as_json, configured, read_config
from mlsys.config import Config


@click.command("check-config", help="Check the configuration and print what is in force, secrets masked.")
@as_json
@configured
def check_config(config_file: Path | None, home: Path | None, json_: bool) -> None:
    from mlsys import bootstrap

    config = read_config(config_file, home)
    models = bootstrap.declared(config, components=True)
    if json_:
        click.echo(json.dumps(_in_force(config) | {"models": models}, indent=2, default=str))
        return
    click.echo(f"The configuration is valid ({config.file or 'built-in defaults, no config.yaml found'}).")
    for name, value in _in_force(config).items():
        click.echo(f"{name}: {value}")
    click.echo(f"models: {', '.join(models) or 'none'}")


def _in_force(config: Config) -> dict[str, Any]:
    return {name: str(getattr(config, name)) for name in (f.name for f in fields(config)) if name not in ("models", "file")}
