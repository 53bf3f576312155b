"""``mlsys db``: the schema's revisions, without a server."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from mlsys import logs
from mlsys.cli import homes
from mlsys.cli.options import as_json, configured, read_config
from mlsys.registry.schema import Schema


@click.group(help="Move the database's schema between revisions (000, 001, ..).")
def db() -> None:
    pass


@db.command(help="Go up to REVISION (default: the newest).")
@click.argument("revision", required=False)
@as_json
@configured
def upgrade(config_file: Path | None, home: Path | None, json_: bool, revision: str | None) -> None:
    with _schema(config_file, home) as schema:
        _tell(*schema.move("up", revision), json_)


@db.command(help="Undo everything down to REVISION, itself included (000: start over).")
@click.argument("revision")
@click.option("--force", is_flag=True, help="Go down even though rows are lost.")
@as_json
@configured
def downgrade(config_file: Path | None, home: Path | None, json_: bool, revision: str, force: bool) -> None:
    with _schema(config_file, home) as schema:
        _tell(*schema.move("down", revision, force=force), json_)


@db.command(help="Print the revision the database stands at.")
@as_json
@configured
def current(config_file: Path | None, home: Path | None, json_: bool) -> None:
    with _schema(config_file, home) as schema:
        revision = schema.current()
    click.echo(json.dumps({"revision": revision}) if json_ else revision or "empty")


@contextmanager
def _schema(config_file: Path | None, home: Path | None) -> Iterator[Schema]:
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    system = homes.opened(config)
    system.start_database()
    try:
        yield system.services.schema
    finally:
        system.stop()


def _tell(before: str | None, after: str | None, json_: bool) -> None:
    moved = {"from": before, "to": after}
    click.echo(json.dumps(moved) if json_ else f"{before or 'empty'} -> {after or 'empty'}")
