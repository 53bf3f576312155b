"""Hooks of schemathesis: every second request gets values that exist (a model, a data set, a run), so that it comes past the first check.

Loaded by schemathesis' own process. What exists is told in the environment, as JSON: {field or path's first part: value}.
"""

import json
import os
import zlib
from typing import Any

import schemathesis

KNOWN = json.loads(os.environ["MLSYS_FUZZED"])
GOOD = {
    "model_name": "quick",
    "start_date": "2020-02-01",
    "end_date": "2020-03-10",
    "step": "P7D",
    "url": "http://127.0.0.1:1/",
    "events": ["webhook.*"],
    "cron": "@yearly",
    "timezone": "UTC",
    "kind": "train",
    "window": {"start": "-P30D", "end": "PT0S"},
    "misfire": "skip",
    "overlap": "skip",
}
EXISTING = {"models": "quick", "datasets": "site", "schedules": "yearly"}
ROW = {"time": "2020-01-01T00:00:00Z", "power": 1.5}


def _chosen(value: Any) -> bool:
    """The same for the same value, in every run."""
    return zlib.crc32(json.dumps(value, sort_keys=True, default=str).encode()) % 2 == 0


@schemathesis.hook
def map_path_parameters(context: schemathesis.HookContext, path_parameters: Any) -> Any:
    if not path_parameters or context.operation is None or not _chosen(path_parameters):
        return path_parameters
    place = context.operation.path.split("/")[1]
    known = {"name": EXISTING.get(place), "id": KNOWN.get(place), "model_version_id": KNOWN.get("model_version_id")}
    return {name: known.get(name) or value for name, value in path_parameters.items()}


@schemathesis.hook
def map_query(context: schemathesis.HookContext, query: Any) -> Any:
    """Nobody waits for events here."""
    return {name: 0 if name == "wait" else value for name, value in query.items()} if isinstance(query, dict) else query


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    if isinstance(body, list) and _chosen(body):
        return [ROW]
    if not isinstance(body, dict) or not _chosen(body):
        return body
    return body | {name: value for name, value in {**GOOD, **KNOWN}.items() if name in body}
