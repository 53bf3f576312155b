"""``mlsys schedules``: what runs when. Firings happen in a running server; here schedules are looked at and changed."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import click

from mlsys import client, logs
from mlsys.cli import tables
from mlsys.cli.connection import connected
from mlsys.cli.jobs import parameter
from mlsys.cli.options import Command, as_json, configured, read_config
from mlsys.records import Misfire, Overlap, ScheduleKind

FIELDS = ("kind", "model_name", "cron", "timezone", "window", "params", "misfire", "overlap", "enabled")


@click.group(help="What runs when: list, show, create, update, delete, pause, resume, trigger.")
def schedules() -> None:
    pass


def _described(*, required: bool) -> Callable[[Command], Command]:
    """The options that describe a schedule."""

    def decorate(command: Command) -> Command:
        for option in (
            click.option("--overlap", type=click.Choice(get_args(Overlap)), help="When the run before has not ended (default skip)."),
            click.option("--misfire", type=click.Choice(get_args(Misfire)), help="What becomes of missed firings (default run_once)."),
            click.option(
                "--param",
                "params",
                multiple=True,
                metavar="NAME=VALUE",
                help="Hyper-parameter of a training, or step=P1D of a backfill; repeatable.",
            ),
            click.option("--end", required=required, help="End of the window, such as PT0S or P1D."),
            click.option("--start", required=required, help="Start of the window, as a duration from the time it fires: -P365D."),
            click.option("--timezone", help="Zone that the cron expression is read in (default UTC)."),
            click.option("--cron", required=required, help="Five fields, such as '0 3 * * 1' (0 and 7: Sunday), or @daily and its kin."),
            click.option("--model", "model_name", required=required, help="The model."),
            click.option("--kind", type=click.Choice(get_args(ScheduleKind)), required=required, help="What to run."),
            click.argument("name"),
        ):
            command = option(command)
        return configured(as_json(command))

    return decorate


def _named(command: Command) -> Command:
    return click.argument("name")(configured(as_json(command)))


@schedules.command("list", help="List the schedules, the one made last first.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@as_json
@configured
def list_(config_file: Path | None, home: Path | None, json_: bool, limit: int) -> None:
    with _api(config_file, home) as api:
        found = api.call("GET", "/schedules", query={"limit": limit})
    if json_:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [
        (each["name"], each["kind"], each["model_name"], each["cron"], each["timezone"], next(iter(each["next_fire_times"]), "paused"))
        for each in found["items"]
    ]
    columns = ("name", "kind", "model", "cron", "timezone", "next")
    tables.show_table("Schedules", columns, rows, empty="No schedules. Make one: mlsys schedules create")


@schedules.command(help="Show the schedule NAME, when it fires next, and its last runs.")
@_named
def show(config_file: Path | None, home: Path | None, json_: bool, name: str) -> None:
    with _api(config_file, home) as api:
        found = api.call("GET", f"/schedules/{name}")
        found["runs"] = api.call("GET", "/runs", query={"schedule": name, "limit": 10})["items"]
    _show(found, json_)


@schedules.command(help="Make the schedule NAME.")
@_described(required=True)
def create(config_file: Path | None, home: Path | None, json_: bool, **asked: Any) -> None:
    with _api(config_file, home) as api:
        _show(api.call("POST", "/schedules", body={"name": asked["name"], **_changes(asked, {})}), json_)


@schedules.command(help="Change the schedule NAME: just what the options say.")
@_described(required=False)
def update(config_file: Path | None, home: Path | None, json_: bool, name: str, **asked: Any) -> None:
    with _api(config_file, home) as api:
        present = api.call("GET", f"/schedules/{name}")
        kept = {field: present[field] for field in FIELDS}
        _show(api.call("PUT", f"/schedules/{name}", body=kept | _changes(asked, present)), json_)


@schedules.command(help="Delete the schedule NAME; its runs stay.")
@_named
def delete(config_file: Path | None, home: Path | None, json_: bool, name: str) -> None:
    with _api(config_file, home) as api:
        api.call("DELETE", f"/schedules/{name}")
    click.echo(json.dumps({"deleted": name}) if json_ else f"{name}: deleted")


@schedules.command(help="No more firings of NAME until it is resumed.")
@_named
def pause(config_file: Path | None, home: Path | None, json_: bool, name: str) -> None:
    with _api(config_file, home) as api:
        _show(api.call("POST", f"/schedules/{name}/pause"), json_)


@schedules.command(help="Let NAME fire again, from its next time on.")
@_named
def resume(config_file: Path | None, home: Path | None, json_: bool, name: str) -> None:
    with _api(config_file, home) as api:
        _show(api.call("POST", f"/schedules/{name}/resume"), json_)


@schedules.command(help="Run NAME now, beside its own firings, and follow the run to its end.")
@_named
def trigger(config_file: Path | None, home: Path | None, json_: bool, name: str) -> None:
    with _api(config_file, home) as api:
        run = api.call("POST", f"/schedules/{name}/trigger")
        with tables.progress(run, quiet=json_) as show_progress:
            run = client.follow(api, run, on_change=show_progress)
    if json_:
        click.echo(json.dumps(run, indent=2))
    else:
        tables.show_run(run)
    if run["status"] != "succeeded":
        sys.exit(1)


def _api(config_file: Path | None, home: Path | None) -> Any:
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    return connected(config)


def _changes(asked: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the options name, a window's other end as it is."""
    found = {name: value for name, value in asked.items() if name in FIELDS and name != "params" and value is not None}
    ends = {name: asked[name] for name in ("start", "end") if asked[name] is not None}
    if ends:
        found["window"] = {**present.get("window", {}), **ends}
    if asked["params"]:
        found["params"] = {**present.get("params", {}), **dict(parameter(text) for text in asked["params"])}
    return found


def _show(found: Mapping[str, Any], json_: bool) -> None:
    if json_:
        click.echo(json.dumps(found, indent=2))
        return
    window = found["window"]
    tables.say(f"{found['name']}: {found['kind']} {found['model_name']}, {found['cron']} ({found['timezone']})")
    tables.say(f"  window from {window['start']} to {window['end']}; misfire {found['misfire']}, overlap {found['overlap']}")
    tables.say(f"  next: {', '.join(tables.shown(at) for at in found['next_fire_times']) or 'paused'}")
    if "runs" in found:
        rows = [(run["id"], run["trigger"].get("fire_time"), run["status"], (run["error"] or {}).get("message")) for run in found["runs"]]
        tables.show_table("Last runs", ("id", "fire time", "status", "why"), rows, empty="No runs yet.")
