"""``mlsys models``, ``promote`` and ``demote``: the model registry from the terminal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mlsys import logs
from mlsys.cli import explanations, tables
from mlsys.cli.connection import connected
from mlsys.cli.options import as_json, configured, read_config
from mlsys.client import Api


@click.command(help="List models; with MODEL show its versions and what was in production, or explain one of them.")
@click.argument("model_name", metavar="[MODEL]", required=False)
@click.option("--explain", "version_id", metavar="VERSION_ID", help="Show what that version looks at.")
@click.option("--timestamp", help="With --explain: also what adds up to the forecast of this timestamp.")
@click.option("--series", help="With --timestamp: which series, by the value of its key.")
@click.option("--data-at", help="With --timestamp: from what was known at that time.")
@as_json
@configured
def models(
    config_file: Path | None, home: Path | None, json_: bool, model_name: str | None, version_id: str | None, **asked: str | None
) -> None:
    if (version_id and not model_name) or (any(asked.values()) and not version_id):
        raise click.UsageError("Write mlsys models MODEL --explain VERSION_ID, then --timestamp and what belongs to it.")
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    with connected(config) as api:
        if version_id:
            found = api.call("GET", f"/models/{model_name}/versions/{version_id}/explanation", query=asked)
        else:
            found = api.call("GET", "/models", query={"limit": 200}) if model_name is None else _one(api, model_name)
    if json_:
        click.echo(json.dumps(found, indent=2))
    elif version_id:
        explanations.show(found)
    elif model_name is None:
        rows = [(model["name"], model["versions"], model["production"], model["updated_at"]) for model in found["items"]]
        tables.show_table(
            "Models", ("name", "versions", "production", "defined"), rows, empty="No models. Declare one under models: in config.yaml."
        )
    else:
        _show(found)


def _one(api: Api, name: str) -> dict[str, Any]:
    parts = {part: api.call("GET", f"/models/{name}/{part}", query={"limit": 50})["items"] for part in ("versions", "promotions")}
    return {**api.call("GET", f"/models/{name}"), "model_versions": parts["versions"], "promotions": parts["promotions"]}


def _show(found: Mapping[str, Any]) -> None:
    versions = [
        (v["version"], v["model_version_id"], _status(v), v["validation"]["decision"], v["metrics"].get("mae"), v["created_at"])
        for v in found["model_versions"]
    ]
    tables.show_table(
        found["name"], ("version", "id", "status", "gate", "mae", "created"), versions, empty="No versions yet. Train one: mlsys train"
    )
    promotions = [
        (p["sequence"], p["action"], p["model_version_id"], p["actor"], p["reason"], p["created_at"]) for p in found["promotions"]
    ]
    tables.show_table("Promotions", ("#", "action", "version", "by", "reason", "at"), promotions, empty="Nothing was in production yet.")


def _status(version: Mapping[str, Any]) -> str:
    return f"{version['status']}, freed" if version["freed"] else str(version["status"])


@click.command(help="Put a version into production by hand, whatever the gate said.")
@click.argument("model_name", metavar="MODEL")
@click.argument("model_version_id", metavar="VERSION_ID")
@click.option("--reason", help="Why; kept in the promotion log.")
@click.option("--expected-production", help="Refuse when another version is in production by now.")
@as_json
@configured
def promote(config_file: Path | None, home: Path | None, json_: bool, **asked: str | None) -> None:
    _decide("/model/promote", asked, config_file, home, json_)


@click.command(help="Go back to the version that was in production before, further back each time.")
@click.argument("model_name", metavar="MODEL")
@click.option("--reason", help="Why; kept in the promotion log.")
@click.option("--expected-production", help="Refuse when another version is in production by now.")
@as_json
@configured
def demote(config_file: Path | None, home: Path | None, json_: bool, **asked: str | None) -> None:
    _decide("/model/demote", asked, config_file, home, json_)


def _decide(path: str, asked: Mapping[str, str | None], config_file: Path | None, home: Path | None, json_: bool) -> None:
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    with connected(config) as api:
        promotion = api.call("POST", path, body={name: value for name, value in asked.items() if value is not None})
    if json_:
        click.echo(json.dumps(promotion, indent=2))
    else:
        before = promotion["previous_model_version_id"] or "nothing"
        tables.say(
            f"{promotion['model_name']}: {promotion['model_version_id']} is in production (before: {before}), entry {promotion['sequence']}"
        )
