"""``mlsys webhooks``: who is told of which events, and what became of each message."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from mlsys import logs
from mlsys.cli import tables
from mlsys.cli.connection import connected
from mlsys.cli.options import as_json, configured, read_config
from mlsys.client import Api

Command = Callable[..., Any]


@click.group(help="Who is told of which events: list, add, show, change, test, rotate, replay, remove.")
def webhooks() -> None:
    pass


def subscription(command: Command) -> Command:
    """What a webhook is made of."""
    command = click.option("--description", help="What it is for.")(command)
    command = click.option("--model", "model_name", help="Only events of this model.")(command)
    return click.option("--event", "events", multiple=True, help="model.rejected, model.*, or *; may be repeated.")(command)


@webhooks.command("list", help="List webhooks, the one made last first.")
@as_json
@configured
def list_(config_file: Path | None, home: Path | None, json_: bool) -> None:
    with _api(config_file, home) as api:
        found = api.call("GET", "/webhooks", query={"limit": 200})
    if json_:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [(w["id"], w["url"], ", ".join(w["events"]), _state(w), w["pending"], w["last_delivered_at"]) for w in found["items"]]
    columns = ("id", "url", "events", "state", "pending", "last delivered")
    tables.show_table("Webhooks", columns, rows, empty="No webhooks. Add one: mlsys webhooks add URL --event 'model.*'")


@webhooks.command(help="Tell URL of events from now on. Prints the secret that signs them, this once.")
@click.argument("url")
@subscription
@as_json
@configured
def add(config_file: Path | None, home: Path | None, json_: bool, **asked: Any) -> None:
    body = _given(asked)
    if "events" not in body:
        raise click.UsageError("--event: say which events, for example --event 'model.*'.")
    with _api(config_file, home) as api:
        _show(api.call("POST", "/webhooks", body=body), json_)


@webhooks.command(help="Show the webhook ID, and what was sent to it lately.")
@click.argument("id")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@as_json
@configured
def show(config_file: Path | None, home: Path | None, json_: bool, id: str, limit: int) -> None:
    with _api(config_file, home) as api:
        found = api.call("GET", f"/webhooks/{id}")
        found["deliveries"] = api.call("GET", f"/webhooks/{id}/deliveries", query={"limit": limit})["items"]
    _show(found, json_)
    if not json_:
        rows = [
            (
                d["id"],
                d["sequence"],
                d["type"],
                d["state"],
                len(d["attempts"]),
                d["status"],
                d["latency_ms"],
                d["error"],
                d["next_retry_at"],
            )
            for d in found["deliveries"]
        ]
        columns = ("id", "event", "type", "state", "attempts", "status", "ms", "error", "next try")
        tables.show_table("Deliveries", columns, rows, empty="Nothing has been sent to it yet.")


@webhooks.command(help="Change the webhook ID: just what is given.")
@click.argument("id")
@click.option("--url", help="Where it goes from now on.")
@subscription
@click.option("--enable/--pause", "enabled", default=None, help="Send again, what waited too; or let it wait.")
@as_json
@configured
def change(config_file: Path | None, home: Path | None, json_: bool, id: str, **asked: Any) -> None:
    with _api(config_file, home) as api:
        _show(api.call("PATCH", f"/webhooks/{id}", body=_given(asked)), json_)


@webhooks.command(help="Send one test message to the webhook ID; exit code 1 unless it is taken.")
@click.argument("id")
@as_json
@configured
def test(config_file: Path | None, home: Path | None, json_: bool, id: str) -> None:
    with _api(config_file, home) as api:
        found = api.call("POST", f"/webhooks/{id}/test")
    status = found["status"]
    if json_:
        click.echo(json.dumps(found))
    else:
        tables.say(f"{id}: {'no answer' if status is None else f'answered {status}'} after {found['latency_ms']:.0f} ms")
    if status is None or not 200 <= status < 300:
        click.get_current_context().exit(1)


@webhooks.command(help="Give the webhook ID a new secret, shown this once; for a while the old one signs as well.")
@click.argument("id")
@as_json
@configured
def rotate(config_file: Path | None, home: Path | None, json_: bool, id: str) -> None:
    with _api(config_file, home) as api:
        _show(api.call("POST", f"/webhooks/{id}/rotate"), json_)


@webhooks.command(help="Send the webhook ID each event after a sequence once more, with its old id.")
@click.argument("id")
@click.option("--after", type=click.IntRange(0), required=True, help="Sequence of the last event that needs no repetition.")
@as_json
@configured
def replay(config_file: Path | None, home: Path | None, json_: bool, id: str, after: int) -> None:
    with _api(config_file, home) as api:
        found = api.call("POST", f"/webhooks/{id}/replay", query={"after_sequence": after})
    if json_:
        click.echo(json.dumps(found))
    else:
        tables.say(f"{id}: {found['events']} events will be sent once more")


@webhooks.command(help="Send the delivery DELIVERY_ID once more, with its old id.")
@click.argument("delivery_id")
@as_json
@configured
def redeliver(config_file: Path | None, home: Path | None, json_: bool, delivery_id: str) -> None:
    with _api(config_file, home) as api:
        found = api.call("POST", f"/deliveries/{delivery_id}/redeliver")
    if json_:
        click.echo(json.dumps(found, indent=2))
    else:
        tables.say(f"event {found['sequence']} ({found['type']}) will be sent once more")


@webhooks.command(help="Send the webhook ID nothing more.")
@click.argument("id")
@configured
def remove(config_file: Path | None, home: Path | None, id: str) -> None:
    with _api(config_file, home) as api:
        api.call("DELETE", f"/webhooks/{id}")
    tables.say(f"{id}: removed")


@contextmanager
def _api(config_file: Path | None, home: Path | None) -> Iterator[Api]:
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    with connected(config) as api:
        yield api


def _given(asked: dict[str, Any]) -> dict[str, Any]:
    found = {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items()}
    return {name: value for name, value in found.items() if value not in (None, [])}


def _state(webhook: dict[str, Any]) -> str:
    if webhook["enabled"]:
        return "failing" if webhook["failing"] else "enabled"
    return "disabled" if webhook["disabled"] else "paused"


def _show(found: dict[str, Any], json_: bool) -> None:
    if json_:
        click.echo(json.dumps(found, indent=2))
        return
    of = f" of {found['model_name']}" if found["model_name"] else ""
    tables.say(f"{found['id']}: {found['url']} ({_state(found)}) gets {', '.join(found['events'])}{of}")
    if found["disabled"]:
        tables.say(f"  {found['disabled']['reason']} Enable it again: mlsys webhooks change {found['id']} --enable")
    if "secret" in found:
        tables.say(f"  secret, shown this once: {found['secret']}")
