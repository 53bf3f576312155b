"""``mlsys accuracy``: how right issued forecasts were, now that their timestamps have been measured."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mlsys import logs
from mlsys.cli import figures, tables
from mlsys.cli.connection import connected
from mlsys.cli.options import as_json, configured, read_config

CSV = "text/csv"


@click.command(help="Issued forecasts against the actuals known now, by day and by lead time.")
@click.argument("model_name", metavar="MODEL")
@click.option("--start", "--start-date", "start_date", help="First day, or an instant (default: the last 366 days that were forecast).")
@click.option("--end", "--end-date", "end_date", help="Last day (included), or an instant (excluded).")
@click.option("--by", type=click.Choice(["day", "lead_time"]), help="Only these figures.")
@click.option("--version-id", "model_version_id", help="Only forecasts by that version.")
@click.option("--data-at", help="Forecasts stored, and actuals known, up to then.")
@click.option("--rows", "as_rows", is_flag=True, help="Print the rows behind the figures, as CSV.")
@as_json
@configured
def accuracy(config_file: Path | None, home: Path | None, json_: bool, model_name: str, as_rows: bool, **asked: Any) -> None:
    if json_ and as_rows:
        raise click.UsageError("Give either --json or --rows.")
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    address = f"/models/{model_name}/accuracy"
    with connected(config) as api:
        if as_rows:
            query = {name: value for name, value in asked.items() if value is not None}
            for part in api.fetch(address, CSV, query=query):
                click.echo(part, nl=False)
            return
        found = api.call("GET", address, query=asked)
    if json_:
        click.echo(json.dumps(found, indent=2))
    else:
        _show(found)


def _show(found: Mapping[str, Any]) -> None:
    if found["overall"] is None:
        tables.say(found["reason"])
        return
    about = f"{found['scored_rows']} of {found['rows']} timestamps measured"
    late = f", {found['late_rows']} of them forecast after their time" if found["late_rows"] else ""
    tables.say(f"{found['model_name']}: {about}{late}")
    figures.show("All rows", "", [("", found["overall"])])
    for title, part, name in (("By day", "by_day", "day"), ("By lead time", "by_lead_time", "lead_time")):
        if found[part]:
            tables.say("")
            figures.show(title, name.replace("_", " "), [(one[name], one) for one in found[part]])
    if found["degraded"]:
        episode = found["degraded"]
        tables.say(f"Degraded since {episode['first_day']}: {episode['detail']['metric']} beyond its limit.")
