"""``mlsys token``: access tokens, made and taken back on the database itself: whoever can open that needs no token."""

import getpass
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlsys import errors, logs
from mlsys.cli import homes, tables
from mlsys.cli.options import as_json, configured, read_config
from mlsys.clock import rfc3339
from mlsys.config import Config

if TYPE_CHECKING:
    from mlsys.access.tokens import Tokens
    from mlsys.registry.tokens import Token

_SCOPES = ("read", "run", "promote", "admin")


@click.group(help="Access tokens: create, list, revoke; on the database itself, without a server.")
def token() -> None:
    pass


@token.command(help="Make a token for NAME (default: you) and print it, this once. Each scope includes those before it.")
@click.argument("name", required=False)
@click.option("--scope", type=click.Choice(_SCOPES), default="read", show_default=True, help="What it allows.")
@click.option("--expires-in", help="How long it lasts, as P90D or PT12H; default: until it is revoked.")
@as_json
@configured
def create(config_file: Path | None, home: Path | None, json_: bool, name: str | None, scope: Any, expires_in: str | None) -> None:
    expires_at = None if expires_in is None else _end(expires_in)
    config = read_config(config_file, home)
    with _tokens(config) as tokens:
        made, text = tokens.create(name or getpass.getuser(), scope, by=_operator(), expires_at=expires_at)
    if json_:
        click.echo(json.dumps(_told(made) | {"token": text, "made_in": homes.named(config)}, indent=2))
        return
    until = f"until {tables.shown(rfc3339(made.expires_at))} UTC" if made.expires_at else "until it is revoked"
    tables.say(f"Token {made.id} for {made.name}, scope {made.scope}, valid {until}. It is shown this once:")
    click.echo(text)
    tables.say(f"Made in {homes.named(config)}.")
    tables.say("Send it as `Authorization: Bearer TOKEN`; mlsys' own commands take it from MLSYS_TOKEN. From now on every call needs one.")


@token.command("list", help="List all tokens ever made, newest first; none is shown itself.")
@as_json
@configured
def list_(config_file: Path | None, home: Path | None, json_: bool) -> None:
    with _tokens(read_config(config_file, home)) as tokens:
        found = [_told(each) for each in tokens.list()]
    if json_:
        click.echo(json.dumps({"items": found}, indent=2))
        return
    columns = ("id", "name", "scope", "state", "created_at", "created_by", "expires_at", "last_used_at", "revoked_at", "revoked_by")
    rows = [[each[column] for column in columns] for each in found]
    titles = [column.removesuffix("_at").replace("_", " ") for column in columns]
    tables.show_table("Tokens", titles, rows, empty="No tokens: callers on this machine need none, others are not served.")


@token.command(help="Refuse the token ID from now on, and log out the browsers that came in with it.")
@click.argument("id")
@as_json
@configured
def revoke(config_file: Path | None, home: Path | None, json_: bool, id: str) -> None:
    with _tokens(read_config(config_file, home)) as tokens:
        found = tokens.revoke(_id(id), by=_operator())
    if json_:
        click.echo(json.dumps(_told(found), indent=2))
    else:
        tables.say(f"Token {found.id} ({found.name}) was revoked by {found.revoked_by}. Servers refuse it within a second.")


@contextmanager
def _tokens(config: Config) -> Iterator["Tokens"]:
    logs.configure(config, quiet=True)
    system = homes.opened(config)
    system.start_database()
    try:
        system.services.schema.move("up")  # on a new home a token comes before the first start of a server
        yield system.services.tokens
    finally:
        system.stop()


def _id(text: str) -> str:
    """Of the id itself, or of a whole token that was found somewhere."""
    from mlsys.access import credentials

    shown = credentials.read("token", text)
    return shown.id if shown else text[:80]


def _end(text: str) -> datetime:
    from mlsys.pipelines.durations import parse_duration

    try:
        return datetime.now(UTC) + parse_duration(text)
    except (ValueError, OverflowError):
        raise errors.Invalid({"expires-in": f"{text[:80]!r} is no duration such as P90D or PT12H."}) from None


def _operator() -> str:
    """Who works at this machine."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _told(token: "Token") -> dict[str, Any]:
    found = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in asdict(token).items()}
    now = datetime.now(UTC)
    expired = token.expires_at is not None and token.expires_at <= now
    return found | {"state": "revoked" if token.revoked_at else "expired" if expired else "valid"}
