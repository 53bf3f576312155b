"""``mlsys backfill``: forecasts as they would have been issued then, followed to their end. Exit 1 when the run failed."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mlsys import client, logs
from mlsys.cli import tables
from mlsys.cli.connection import connected
from mlsys.cli.options import as_json, configured, read_config


@click.command(help="Forecast a range of the past, each step with the model and the knowledge of its own time; only what is missing.")
@click.argument("model_name", metavar="MODEL")
@click.option("--start", "--start-date", "start_date", required=True, help="First day, or an instant: when the first forecast is issued.")
@click.option("--end", "--end-date", "end_date", required=True, help="Last day (included), or an instant (excluded).")
@click.option("--step", required=True, help="From one forecast to the next, for example P1D.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@as_json
@configured
def backfill(config_file: Path | None, home: Path | None, json_: bool, model_name: str, **asked: Any) -> None:
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    with connected(config) as api:
        found = api.call("POST", f"/models/{model_name}/backfill", body=asked)
        if not asked["dry_run"]:
            with tables.progress(found, quiet=json_) as show:
                found = client.follow(api, found, on_change=show)
    if json_:
        click.echo(json.dumps(found, indent=2))
    elif asked["dry_run"]:
        _show_plan(found)
    else:
        tables.show_run(found)
    if found.get("status", "succeeded") != "succeeded":
        sys.exit(1)


def _show_plan(plan: Mapping[str, Any]) -> None:
    rows = [(step["start"], step["end"], step["model_version_id"], step["state"]) for step in plan["steps"]]
    tables.show_table(f"Backfill of {plan['model_name']}", ("issued", "up to", "version", "state"), rows, empty="No steps.")
    tables.say(f"{plan['missing']} to make, {plan['present']} there already, {plan['no_model']} without a model in production then")
