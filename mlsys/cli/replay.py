"""``mlsys replay``: do an old run again and compare; ``--audit N``: do so with N random ones. Exit 1 where the result is not the same."""

import json
import random
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from mlsys import client, logs
from mlsys.cli import tables
from mlsys.cli.connection import connected
from mlsys.cli.options import as_json, configured, read_config
from mlsys.client import Api

SAME = ("identical", "equal_within")


@click.command(help="Do a succeeded run again from its stored spec and bytes, and compare. Exit 1 where the result is not the same.")
@click.argument("run_id", required=False)
@click.option("--audit", metavar="N", type=click.IntRange(1, 10_000), help="Replay N random runs that succeeded.")
@as_json
@configured
def replay(config_file: Path | None, home: Path | None, json_: bool, run_id: str | None, audit: int | None) -> None:
    if (run_id is None) == (audit is None):
        raise click.UsageError("Give either a RUN_ID or --audit N.")
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    with connected(config) as api:
        chosen = [str(run_id)] if run_id is not None else _random(api, int(audit or 0))
        done = [_replayed(api, id, quiet=json_) for id in chosen]
    if json_:
        click.echo(json.dumps(done[0] if run_id is not None else {"items": done}, indent=2))
    elif run_id is not None:
        tables.show_run(done[0])
    else:
        tables.show_table("Replays", ("run", "kind", "verdict", "what was found"), [_row(run) for run in done], empty="No run to replay.")
    if not all(_same(run) for run in done):
        sys.exit(1)


def _replayed(api: Api, id: str, *, quiet: bool) -> Any:
    run = api.call("POST", f"/runs/{id}/replay")
    with tables.progress(run, quiet=quiet) as show:
        return client.follow(api, run, on_change=show)


def _random(api: Api, count: int) -> list[str]:
    ids = [id for kind in ("train", "predict") for id in _succeeded(api, kind)]
    return random.sample(ids, min(count, len(ids)))


def _succeeded(api: Api, kind: str) -> Iterator[str]:
    cursor = None
    while True:
        page = api.call("GET", "/runs", query={"kind": kind, "status": "succeeded", "limit": 200, "cursor": cursor})
        yield from (run["id"] for run in page["items"])
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _same(run: Mapping[str, Any]) -> bool:
    return bool(run["status"] == "succeeded" and run["result"]["verdict"] in SAME)


def _row(run: Mapping[str, Any]) -> tuple[Any, ...]:
    if run["status"] != "succeeded":
        return run["spec"]["original_run_id"], "", Text(run["status"], style="red"), (run["error"] or {}).get("message", "")
    result = run["result"]
    verdict = Text(result["verdict"], style="green" if _same(run) else "red")
    return result["original_run_id"], result["original_kind"], verdict, " ".join(tables.replay_lines(result))
