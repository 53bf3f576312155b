"""What the demo does, step by step, as a client of its own server: train, retrain, predict, compare, look at the logs."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click

from mlsys import client
from mlsys.cli import demo_days, tables
from mlsys.cli.connection import AGENT

MODEL = "pv_sample"
FIRST = ("2011-04-16", "2012-04-15")
MORE = ("2011-04-16", "2013-04-15")
AHEAD = ("2013-04-16", "2013-04-22")
NEXT = ("2013-04-23", "2013-04-29")


class StepFailed(Exception):
    """A step of the demo did not do what it should; the message says which and why."""


class Left(BaseException):
    """The process is being stopped: say nothing more."""


class _Api(client.Client):
    """Stops the story at its next request once the process is being stopped."""

    def __init__(self, url: str, *, leaving: threading.Event) -> None:
        super().__init__(url, timeout_seconds=30, agent=AGENT)
        self._leaving = leaving

    def call(self, method: str, path: str, *, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None) -> Any:
        if self._leaving.is_set():
            raise Left
        return super().call(method, path, body=body, query=query)


def tell(url: str, *, started: float, leaving: threading.Event) -> None:
    """``started``: monotonic seconds when the command began. Raises StepFailed, ClientError, and Left once ``leaving`` is set."""
    api = _Api(url, leaving=leaving)
    tables.say(
        f"mlsys serves at {url}. The demo trains on measured power of a photovoltaic system in Golden, Colorado, with its weather every "
        "15 minutes (NREL PVDAQ and NSRDB; see mlsys/sample/README.md)."
    )
    _heading(1, f"Train on a year: {FIRST[0]} to {FIRST[1]}")
    _trained(api, FIRST)
    _heading(2, f"Train on two years, to {MORE[1]}: the gate holds the new model against the one in production")
    _trained(api, MORE)
    _heading(3, f"Predict the week after: {AHEAD[0]} to {AHEAD[1]}")
    run = _done(api, "/job/predict", AHEAD)
    tables.show_run(run)
    tables.say(f"  The forecast stands {time.monotonic() - started:.0f} s after the command.")
    _heading(4, "Hold the forecast against what was then measured")
    demo_days.show(Path(unquote(urlsplit(run["result"]["output"]["uri"]).path)))
    _heading(5, "Everything is on record")
    _show_records(api)
    _say_where_to_look(url)


def _heading(number: int, text: str) -> None:
    click.secho(f"\n{number}. {text}", bold=True)


def _trained(api: client.Api, days: tuple[str, str]) -> None:
    run = _done(api, "/job/train", days)
    for line in reversed(api.call("GET", f"/runs/{run['id']}/logs", query={"limit": 200})["items"]):
        tables.say(f"  {line['message']}")
    tables.show_run(run)


def _done(api: client.Api, path: str, days: tuple[str, str]) -> dict[str, Any]:
    run = api.call("POST", path, body={"model_name": MODEL, "start_date": days[0], "end_date": days[1]})
    with tables.progress(run, quiet=False) as show:
        ended: dict[str, Any] = client.follow(api, run, on_change=show, interval=0.1)
    if ended["status"] != "succeeded":
        why = (ended["error"] or {}).get("message", "the server's log says why")
        raise StepFailed(f"run {ended['id']} ({ended['kind']}) is {ended['status']}: {why}")
    return ended


def _show_records(api: client.Api) -> None:
    runs = api.call("GET", "/runs", query={"model_name": MODEL, "limit": 10})["items"]
    rows = [(run["id"], run["kind"], run["status"], run["created_at"], run["finished_at"]) for run in runs]
    tables.show_table("Runs, newest first (UTC)", ("id", "kind", "status", "queued", "finished"), rows, empty="No runs.")
    promotions = api.call("GET", f"/models/{MODEL}/promotions", query={"limit": 10})["items"]
    entries = [(p["sequence"], p["action"], p["model_version_id"], p["previous_model_version_id"], p["reason"]) for p in promotions]
    columns = ("#", "action", "version", "before", "reason")
    tables.show_table("Promotions, newest first", columns, entries, empty="Nothing is in production.")


def _say_where_to_look(url: str) -> None:
    body = f'{{"model_name": "{MODEL}", "start_date": "{NEXT[0]}", "end_date": "{NEXT[1]}"}}'
    _heading(6, "Look around")
    click.echo(
        f"  overview  {url}/\n  API       {url}/docs\n\n"
        f"  curl {url}/models/{MODEL}/production\n"
        f"  curl -X POST {url}/job/predict -H 'Content-Type: application/json' -H 'Prefer: wait=60' \\\n    -d '{body}'\n"
        f"  curl '{url}/model/demote?model_name={MODEL}'"
    )
