"""``mlsys runs``: the list, or one run with its history and log."""

import json
from pathlib import Path
from typing import get_args

import click

from mlsys import logs
from mlsys.cli import tables
from mlsys.cli.connection import connected
from mlsys.cli.options import as_json, configured, read_config
from mlsys.records import RunKind


@click.command(help="List runs, newest first; with RUN_ID show that one, its history and its log, or cancel it.")
@click.argument("run_id", required=False)
@click.option("--model", "model_name", help="Only runs of this model.")
@click.option("--status", help="Only runs with this status.")
@click.option("--kind", type=click.Choice(get_args(RunKind)), help="Only runs of this kind.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@click.option("--cancel", is_flag=True, help="Stop the run: a queued one at once, a running one at its next step.")
@as_json
@configured
def runs(
    config_file: Path | None,
    home: Path | None,
    json_: bool,
    run_id: str | None,
    model_name: str | None,
    status: str | None,
    kind: str | None,
    limit: int,
    cancel: bool,
) -> None:
    if cancel and run_id is None:
        raise click.UsageError("--cancel: say which run, as RUN_ID.")
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    with connected(config) as api:
        if run_id is None:
            found = api.call("GET", "/runs", query={"model_name": model_name, "status": status, "kind": kind, "limit": limit})
        else:
            if cancel:
                api.call("POST", f"/runs/{run_id}/cancel")
            found = api.call("GET", f"/runs/{run_id}")
            found |= {part: api.call("GET", f"/runs/{run_id}/{part}", query={"limit": 200})["items"][::-1] for part in ("history", "logs")}
    if json_:
        click.echo(json.dumps(found, indent=2))
    elif run_id is None:
        rows = [
            (run["id"], run["kind"], run["model_name"], run["status"], run["trigger"]["type"], run["created_at"]) for run in found["items"]
        ]
        tables.show_table(
            "Runs",
            ("id", "kind", "model", "status", "trigger", "created"),
            rows,
            empty="No runs yet. Start one: mlsys train MODEL --start .. --end ..",
        )
    else:
        tables.show_run(found)
        tables.show_table(
            "History", ("at", "attempt", "status"), [(c["at"], c["attempt"], c["status"]) for c in found["history"]], empty=""
        )
        tables.show_table(
            "Log", ("at", "level", "message"), [(c["at"], c["level"], c["message"]) for c in found["logs"]], empty="No log lines."
        )
