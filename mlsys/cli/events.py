"""``mlsys events``: what happened, or what happens from now on."""

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from mlsys import errors, logs
from mlsys.cli import tables
from mlsys.cli.connection import connected
from mlsys.cli.options import as_json, configured, read_config
from mlsys.client import Api, Client, ClientError
from mlsys.plain import escaped

_WAIT_SECONDS = 30
_PAUSE_SECONDS = 2
_TOLD = ("model_name", "run_id", "model_version_id", "dataset", "schedule", "webhook_id")


@click.command(help="List the latest events, oldest first; with --follow go on with those to come, until Ctrl-C.")
@click.option("--type", "type_", help="Only events of these types, separated by commas: run.failed,model.*")
@click.option("--model", "model_name", help="Only events about this model.")
@click.option("--after", type=click.IntRange(0), help="Begin after this sequence, with all that come then.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many of the latest, without --after.")
@click.option("--follow", is_flag=True, help="Go on with the events to come.")
@as_json
@configured
def events(
    config_file: Path | None,
    home: Path | None,
    json_: bool,
    type_: str | None,
    model_name: str | None,
    after: int | None,
    limit: int,
    follow: bool,
) -> None:
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    chosen = {"type": type_, "model_name": model_name}
    with connected(config) as api:
        found, last = _all(api, after, chosen) if after is not None else _latest(api, limit, chosen)
        if not follow:
            _show(found, json_)
            return
        if not isinstance(api, Client):
            raise errors.Unavailable("No mlsys runs on this home, so nothing will happen there. Start one with: mlsys serve")
        while True:
            _print(found, json_)
            found, last = _next(api, last, chosen)


def _next(api: Api, last: int, chosen: Mapping[str, Any]) -> tuple[list[Any], int]:
    """What comes after ``last``, with the patience for a server that is started again."""
    try:
        page = api.call("GET", "/events", query={**chosen, "after_sequence": last, "wait": _WAIT_SECONDS, "limit": 200})
    except ClientError as error:
        if error.status not in (0, 503):
            raise
        click.echo(f"Waiting: {error}", err=True)
        time.sleep(_PAUSE_SECONDS)
        return [], last
    return page["items"], page["last_sequence"]


def _all(api: Api, after: int, chosen: Mapping[str, Any]) -> tuple[list[Any], int]:
    found: list[Any] = []
    while True:
        page = api.call("GET", "/events", query={**chosen, "after_sequence": after, "limit": 200})
        found += page["items"]
        after = page["last_sequence"]
        if page["next_cursor"] is None:
            return found, after


def _latest(api: Api, limit: int, chosen: Mapping[str, Any]) -> tuple[list[Any], int]:
    """The last ``limit`` of the chosen: looked for from the end of the log backwards, in spans that double."""
    end = api.call("GET", "/events", query={"after_sequence": 2**63 - 1})["last_sequence"]
    span = limit
    while True:
        found, last = _all(api, max(0, end - span), chosen)
        if len(found) >= limit or span >= end:
            return found[-limit:], last
        span *= 2


def _show(found: list[Any], json_: bool) -> None:
    if json_:
        click.echo(json.dumps({"items": found}, indent=2))
        return
    rows = [(event["sequence"], event["timestamp"], event["type"], _about(event["data"])) for event in found]
    tables.show_table("Events", ("sequence", "at", "type", "about"), rows, empty="No such events yet.")


def _print(found: Iterable[Any], json_: bool) -> None:
    """A line for each, as they come."""
    for event in found:
        about = _about(event["data"])
        line = f"{event['sequence']:>8}  {event['timestamp'][:19]}Z  {event['type']:<20} {escaped(about)}"
        click.echo(json.dumps(event) if json_ else line)


def _about(data: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={data[name]}" for name in _TOLD if data.get(name) is not None)
