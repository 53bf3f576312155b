"""``mlsys datasets``: make data sets, append files to them, look at what they hold."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from mlsys import logs
from mlsys.cli import tables
from mlsys.cli.connection import connected
from mlsys.cli.options import as_json, configured, read_config

TYPES = {
    ".json": "application/json",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".pq": "application/vnd.apache.parquet",
}


@click.group(help="Append-only data sets: list, create, show, append, rows.")
def datasets() -> None:
    pass


@datasets.command("list", help="List the data sets, the one made last first.")
@as_json
@configured
def list_(config_file: Path | None, home: Path | None, json_: bool) -> None:
    with _api(config_file, home) as api:
        found = api.call("GET", "/datasets", query={"limit": 200})
    if json_:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [(each["name"], each["rows"], each["start"], each["end"], each["last_append_at"]) for each in found["items"]]
    columns = ("name", "rows", "start", "end", "last append")
    tables.show_table("Data sets", columns, rows, empty="No data sets. Make one: mlsys datasets create")


@datasets.command(help="Make the data set NAME. Without --column, the first rows appended decide its columns.")
@click.argument("name")
@click.option("--timestamp", required=True, help="Column that says what time a row is about.")
@click.option("--key", "series_key", multiple=True, help="Column that tells series apart; may be repeated.")
@click.option("--created-at", help="Name under which rows tell when they became known (default created_at).")
@click.option("--timezone", help="Of timestamps without an offset (default UTC).")
@click.option("--column", "columns", multiple=True, metavar="NAME:TYPE", help="number, integer, text, boolean, timestamp; repeatable.")
@as_json
@configured
def create(config_file: Path | None, home: Path | None, json_: bool, columns: tuple[str, ...], **asked: Any) -> None:
    body = {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items() if value}
    if columns:
        body["columns"] = dict(_column(text) for text in columns)
    with _api(config_file, home) as api:
        _show(api.call("POST", "/datasets", body=body), json_)


@datasets.command(help="Show the data set NAME: its columns, and what it holds.")
@click.argument("name")
@as_json
@configured
def show(config_file: Path | None, home: Path | None, json_: bool, name: str) -> None:
    with _api(config_file, home) as api:
        _show(api.call("GET", f"/datasets/{name}"), json_)


@datasets.command(help="Append the rows of FILE (.csv, .json, .ndjson, .parquet) to the data set NAME: all of them, or none.")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
@configured
def append(config_file: Path | None, home: Path | None, json_: bool, name: str, file: Path) -> None:
    if file.suffix.lower() not in TYPES:
        raise click.UsageError(f"{file.name}: the name must end in one of {', '.join(TYPES)}")
    with _api(config_file, home) as api, file.open("rb") as body, tables.sending(file, quiet=json_) as tell:
        told = api.send(f"/datasets/{name}/rows", body, TYPES[file.suffix.lower()], on_progress=tell)
    if json_:
        click.echo(json.dumps(told, indent=2))
    else:
        corrected = f", {told['revised']} of them for timestamps already known" if told["revised"] else ""
        first, last = told["first_created_at"], told["created_at"]
        known = f"known from {last} on" if first == last else f"the first known from {first} on, the last from {last}"
        tables.say(f"{name}: {told['rows']} rows from {told['start']} to {told['end']}{corrected}; {known}")


@datasets.command(help="Print rows of the data set NAME as CSV, oldest first, as known now or at --known-at.")
@click.argument("name")
@click.option("--start", "start_date", help="First day, or an instant.")
@click.option("--end", "end_date", help="Last day (included), or an instant (excluded).")
@click.option("--known-at", help="Only what was known then.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file instead (.csv or .parquet).")
@configured
def rows(config_file: Path | None, home: Path | None, name: str, output: Path | None, **asked: str | None) -> None:
    type = TYPES.get(output.suffix.lower() if output else ".csv", "")
    if type not in ("text/csv", "application/vnd.apache.parquet"):
        raise click.UsageError("--output: the name must end in .csv or .parquet")
    with _api(config_file, home) as api:
        parts = api.fetch(f"/datasets/{name}/rows", type, query=asked)
        if output is None:
            stdout = sys.stdout.buffer
            stdout.writelines(parts)
            stdout.flush()
            return
        with output.open("wb") as sink:
            sink.writelines(parts)
    tables.say(f"{name}: written to {output}")


def _api(config_file: Path | None, home: Path | None) -> Any:
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    return connected(config)


def _column(text: str) -> tuple[str, str]:
    name, colon, type = text.rpartition(":")
    if not colon:
        raise click.UsageError(f"--column {text!r}: write NAME:TYPE, for example --column power:number")
    return name, type


def _show(found: dict[str, Any], json_: bool) -> None:
    if json_:
        json.dump(found, sys.stdout, indent=2)
        click.echo()
        return
    tables.say(f"{found['name']}: {found['rows']} rows in {found['files']} files, {found['start'] or '-'} to {found['end'] or '-'}")
    roles = {found["timestamp"]: "timestamp"} | dict.fromkeys(found["series_key"], "series key")
    columns = [(column["name"], column["type"], roles.get(column["name"], "")) for column in found["columns"] or ()]
    tables.show_table("Columns", ("name", "type", "role"), columns, empty="No columns yet: the first rows appended decide them.")
