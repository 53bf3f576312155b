"""``mlsys verify``: whether all that is stored is still what was stored. Beside a running server or without one, on the same machine."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlsys import errors, logs
from mlsys.cli import homes, tables
from mlsys.cli.options import as_json, configured, read_config
from mlsys.config import Config

if TYPE_CHECKING:
    from mlsys.system import System
    from mlsys.timetravel.verifying import Report


@click.command(help="Check promotion chains, stored models, data files and predictions against their hashes. Exit 1 on any fault.")
@as_json
@configured
def verify(config_file: Path | None, home: Path | None, json_: bool) -> None:
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    with at_head(config) as system, tables.counting("verify", quiet=json_) as show:
        report = system.verifier(show)
    if json_:
        click.echo(json.dumps({"ok": not report.faults, **asdict(report)}, indent=2))
    else:
        _show(report)
    if report.faults:
        sys.exit(1)


@contextmanager
def at_head(config: Config) -> "Iterator[System]":
    """A system with its database and nothing else at work. Raises Conflict when that is not at this release's revision."""
    from mlsys.storage.migrate import Migrator

    system = homes.opened(config)
    system.start_database()
    try:
        migrator = Migrator(engine=system.engine)  # to look, and no more: the system's own schema writes the models once it is at head
        current = migrator.current()
        if current is None:
            raise errors.Conflict(f"The database is empty: no mlsys was ever at work on {homes.named(config)}. {homes.REMEDY}")
        if current != migrator.head:
            raise errors.Conflict(f"The database is at revision {current}, this mlsys at {migrator.head}. Run: mlsys db upgrade")
        yield system
    finally:
        system.stop()


def _show(report: "Report") -> None:
    faulty = Counter(one.part for one in report.faults)
    rows = [(part, number, faulty[part]) for part, number in report.checked.items()]
    tables.show_table("Verified", ("part", "checked", "faults"), rows, empty="")
    faults = [(one.part, one.name, one.detail) for one in report.faults]
    tables.show_table("Faults", ("part", "name", "what is wrong"), faults, empty="No faults.")
    if report.warnings:
        tables.say(f"Warning: {len(report.warnings)} stored files that no row names, the first of them {report.warnings[0].name}.")
