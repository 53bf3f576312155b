"""``mlsys restore``: a home anew from a backup, which is checked to its end first."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path

import click

from mlsys import logs
from mlsys.cli import tables
from mlsys.cli.options import as_json, configured, read_config


@click.command(help="Fill an empty home (and database) from a backup FILE, which is checked to its end before anything is written.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--replace", is_flag=True, help="Also into a home that holds something, which is then lost.")
@as_json
@configured
def restore(config_file: Path | None, home: Path | None, json_: bool, file: Path, replace: bool) -> None:
    from mlsys import bootstrap

    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    system = bootstrap.build(config)
    with tables.counting(f"restore {file.name}", quiet=json_) as show:
        manifest = system.upkeep.restore.check(file, on_progress=show)
        system.start_database(restoring=True)
        try:
            done = system.upkeep.restore(file, manifest, replace=replace, on_progress=show)
        finally:
            system.stop()
    if json_:
        click.echo(json.dumps(asdict(done), indent=2))
        return
    tables.say(f"{done.rows:,} rows of {done.tables} tables and {done.blobs:,} stored files, as of {done.made_at}, are in {config.home}.")
    if done.revision != done.to:
        tables.say(f"The schema was moved up from {done.revision} to {done.to}.")
    if done.files:
        tables.say(f"Put beside them: {', '.join(done.files)}.")
    given = [f"--config {shlex.quote(str(config_file))}"] if config_file else []
    given += [f"--home {shlex.quote(str(home))}"] if home else []
    tables.say(" ".join(["Check it with: mlsys verify", *given]))
