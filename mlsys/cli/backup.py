"""``mlsys backup``: everything into one file. Beside a running server or without one, on the machine of the home."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from mlsys import logs
from mlsys.cli import tables
from mlsys.cli.options import as_json, configured, read_config
from mlsys.cli.verify import at_head


@click.command(help="Write a backup FILE (.tar.zst): rows, stored files, the key of the secrets, config.yaml. Also while mlsys serves.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--no-secrets", is_flag=True, help="Leave out the key of the secrets and config.yaml; keep them elsewhere.")
@click.option("--allow-empty", is_flag=True, help="Also of a home without a single run or data set (else exit 1).")
@as_json
@configured
def backup(config_file: Path | None, home: Path | None, json_: bool, file: Path, no_secrets: bool, allow_empty: bool) -> None:
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    with at_head(config) as system, tables.counting(f"backup {file.name}", quiet=json_) as show:
        made = system.upkeep.backup(file.absolute(), secrets=not no_secrets, empty=allow_empty, on_progress=show)
    if json_:
        click.echo(json.dumps(asdict(made), indent=2))
        return
    tables.say(f"{made.file}: {made.size:,} bytes, {made.rows:,} rows of {made.tables} tables, {made.blobs:,} stored files.")
    tables.say(f"Its id is {made.id}.")
    if made.files:
        tables.say(f"It holds {' and '.join(made.files)}: keep the file as secret as the home.")
