"""``mlsys train`` and ``mlsys predict``: ask for the job, show its progress, print its result. Exit 1 when the job failed."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mlsys import client, logs
from mlsys.cli import tables
from mlsys.cli.connection import connected
from mlsys.cli.options import Command, as_json, configured, read_config


def _job(command: Command) -> Command:
    for option in (
        click.option("--time-travel-date", help="Use only what was known up to that date."),
        click.option("--dataset", help="Data set, in place of the model's source."),
        click.option("--file", "--file-path", "file_path", help="Data file below a data root, in place of the model's source."),
        click.option("--end", "--end-date", "end_date", required=True, help="Last day (included), or an instant (excluded)."),
        click.option("--start", "--start-date", "start_date", required=True, help="First day, or an instant."),
        click.argument("model_name", metavar="MODEL"),
    ):
        command = option(command)
    return configured(as_json(command))


@click.command(help="Train a model, check it, promote it if the gate accepts it.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="Hyper-parameter; may be repeated.")
@click.option("--promote", type=click.Choice(["auto", "never"]), help="Whether the gate may promote (default auto).")
@_job
def train(config_file: Path | None, home: Path | None, json_: bool, params: tuple[str, ...], **asked: Any) -> None:
    _carry_out("/job/train", asked | {"params": dict(parameter(text) for text in params)}, config_file, home, json_)


@click.command(help="Predict with the version in production, or the one named.")
@click.option("--version-id", "model_version_id", help="Version to predict with (default: the one in production).")
@click.option("--model-at", help="Predict with the version in production at that time.")
@click.option("--data-at", help="Predict from what was known at that time.")
@_job
def predict(config_file: Path | None, home: Path | None, json_: bool, **asked: Any) -> None:
    _carry_out("/job/predict", asked, config_file, home, json_)


def _carry_out(path: str, asked: Mapping[str, Any], config_file: Path | None, home: Path | None, json_: bool) -> None:
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    with connected(config) as api:
        run = api.call("POST", path, body={name: value for name, value in asked.items() if value is not None})
        with tables.progress(run, quiet=json_) as show:
            run = client.follow(api, run, on_change=show)
        if json_:
            click.echo(json.dumps(run, indent=2))
        else:
            tables.show_run(run)
    if run["status"] != "succeeded":
        sys.exit(1)


def parameter(text: str) -> tuple[str, Any]:
    """Name and value of ``NAME=VALUE``, the value as JSON if it is such."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--param {text!r}: write NAME=VALUE, for example --param learning_rate=0.1")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
