"""``mlsys check-config``: reads everything that a start would read and which columns the data has, and prints what is in force."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from mlsys.cli.options import as_json, configured, read_config
from mlsys.config import in_force


@click.command("check-config", help="Check the configuration and print what is in force, secrets masked.")
@as_json
@configured
def check_config(config_file: Path | None, home: Path | None, json_: bool) -> None:
    from mlsys import bootstrap, declarations

    config = read_config(config_file, home)
    models = declarations.declared(config)
    schedules = declarations.scheduled(config, models)
    warnings = bootstrap.check_parts(config, models, columns=True)
    if json_:
        told = {name: asdict(schedule) for name, schedule in schedules.items()}
        click.echo(json.dumps({"settings": in_force(config), "models": models, "schedules": told, "warnings": warnings}, indent=2))
        return
    click.echo(f"The configuration is valid ({config.file or 'built-in defaults, no config.yaml found'}).")
    for name, value in in_force(config).items():
        click.echo(f"{name}: {json.dumps(value)}")
    click.echo(f"models: {', '.join(models) or 'none'}")
    click.echo(f"schedules: {', '.join(schedules) or 'none'}")
    for field, text in warnings.items():
        click.echo(f"Warning: {field}: {text}", err=True)
