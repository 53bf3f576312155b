"""``mlsys gc``: gives up what the rules of retention do not keep. Beside a running server or without one, on the machine of the home."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mlsys import logs
from mlsys.cli import tables
from mlsys.cli.options import as_json, configured, read_config
from mlsys.cli.verify import at_head
from mlsys.records import Collected


@click.command(
    help="Free the stored models of old versions, log lines, deliveries and leftovers, by the section `retention` of config.yaml."
)
@click.option("--dry-run", is_flag=True, help="Only tell what would go.")
@as_json
@configured
def gc(config_file: Path | None, home: Path | None, json_: bool, dry_run: bool) -> None:
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    with at_head(config) as system:
        found = system.upkeep.collector.plan() if dry_run else system.upkeep.collector.collect()
    if json_:
        click.echo(json.dumps({"dry_run": dry_run, **_told(found)}, indent=2))
    else:
        _show(found, dry_run)


def _told(found: Collected) -> dict[str, Any]:
    versions = [
        {"model_name": one.model_name, "version": one.version, "model_version_id": one.model_version_id, "bytes": one.size}
        for one in found.versions
    ]
    return asdict(found) | {"versions": versions}


def _show(found: Collected, dry_run: bool) -> None:
    rows = [(one.model_name, one.version, one.model_version_id, f"{one.size:,}") for one in found.versions]
    title = "Would be freed" if dry_run else "Freed"
    tables.show_table(title, ("model", "version", "model_version_id", "bytes"), rows, empty="No version's stored model goes.")
    would = "would go" if dry_run else "removed"
    tables.say(f"{found.files:,} stored files ({found.bytes:,} bytes) and {found.temporary_files} temporary files {would}.")
    if found.waiting_bytes:
        tables.say(f"{found.waiting_bytes:,} bytes more that no row names are left alone for retention.leftover_hours.")
    tables.say(f"{found.run_log_lines:,} log lines of runs and {found.deliveries:,} deliveries {would}.")
