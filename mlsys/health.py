"""What /health/ tells: each part asked in turn, the worst answer on top. A part that cannot answer is down; nothing raises."""

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mlsys.registry.schema import Schema
from mlsys.storage.artifacts import FolderBlobs

_log = logging.getLogger(__name__)
_WORSE = ("ok", "degraded", "down")
_LOW_DISK = 1 << 30


def report(parts: Mapping[str, Callable[[], dict[str, Any]]]) -> dict[str, Any]:
    checks = {name: _asked(name, part) for name, part in parts.items()}
    return {"status": max((check["status"] for check in checks.values()), key=_WORSE.index, default="ok"), "checks": checks}


def database(engine: sa.Engine, schema: Schema) -> dict[str, Any]:
    started = time.perf_counter()
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    at_head = schema.look()  # another process may have moved it
    return {"status": "ok" if at_head else "degraded", "at_head": at_head, "milliseconds": milliseconds}


def artifacts(blobs: FolderBlobs) -> dict[str, Any]:
    blobs.check()
    free = shutil.disk_usage(blobs.folder).free
    return {"status": "ok" if free > _LOW_DISK else "degraded", "bytes_free": free}


def home(folders: Sequence[Path]) -> dict[str, Any]:
    """Of the home and what is mounted below it: the least that is free."""
    free = min(shutil.disk_usage(folder).free for folder in folders if folder.exists())
    return {"status": "ok" if free > _LOW_DISK else "degraded", "bytes_free": free}


def _asked(name: str, part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return part()
    except Exception as error:
        _log.warning("health: %s is down (%s)", name, type(error).__name__)
        return {"status": "down", "error": type(error).__name__}
