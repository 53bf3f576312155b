"""Rows of a data set as an answer: a page of JSON, or all of them streamed as CSV or parquet. What was known when is for the reader."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flask import Response, jsonify

from mlsys import errors
from mlsys.api import streams
from mlsys.api.services import Services
from mlsys.clock import rfc3339
from mlsys.execution import requests
from mlsys.records import Dataset, Window
from mlsys.timetravel import files
from mlsys.timetravel.asof import Ask


def answer(services: Services, name: str, query: Mapping[str, Any]) -> Response:
    """Raises NotFound, Invalid, DamagedArtifact."""
    with services.units() as unit:
        dataset = unit.datasets.get(name)
    type = streams.wanted()
    columns = (*(column.name for column in files.columns_of(dataset)), dataset.created_at)
    ask = Ask(columns=columns, window=_window(query, dataset), known_at=_known_at(query, dataset), ordered=True)
    if type == "application/json":
        return _page(services, dataset, ask, query)
    if "cursor" in query:
        raise errors.Invalid({"cursor": "Pages are of JSON; as CSV or parquet all rows come at once."})
    return streams.answer(services.reader.rows(dataset.name, ask), str(type), name=dataset.name, places=services.downloads)


def _page(services: Services, dataset: Dataset, ask: Ask, query: Mapping[str, Any]) -> Response:
    limit = query["limit"]
    if "cursor" in query:
        known_at, after = _decode(query["cursor"], dataset)
        ask = replace(ask, known_at=known_at, after=after, window=_from(ask.window, after))
    with services.reader.snapshot(dataset.name, window=ask.window, known_at=ask.known_at) as snapshot:
        # pages are of one moment: what arrives between two of them is in neither
        ask = replace(ask, known_at=min(ask.known_at or snapshot.at, snapshot.at), limit=limit + 1)
        with services.reader.query(snapshot, ask) as reader:
            rows = reader.read_all().to_pylist()
    more = len(rows) > limit
    items = [{name: streams.plain(value) for name, value in row.items()} for row in rows[:limit]]
    following = _encode(ask.known_at, [items[-1][key] for key in dataset.keys]) if more else None
    return jsonify({"items": items, "next_cursor": following, "known_at": rfc3339(ask.known_at or snapshot.at)})


def _window(query: Mapping[str, Any], dataset: Dataset) -> Window | None:
    start, end = query.get("start_date"), query.get("end_date")
    if start is None and end is None:
        return None
    ends = {"start": requests.EARLIEST if start is None else start, "end": requests.LATEST if end is None else end}
    return requests.span(ends["start"], ends["end"], timezone=dataset.timezone)


def _known_at(query: Mapping[str, Any], dataset: Dataset) -> datetime | None:
    asked = query.get("known_at")
    return None if asked is None else requests.cut(asked, "known_at", timezone=dataset.timezone)


def _from(window: Window | None, after: tuple[Any, ...]) -> Window:
    start = after[0] if window is None else max(window.start, after[0])
    return Window(start=start, end=max(start, window.end if window else requests.LATEST))


def _encode(known_at: datetime | None, last: list[Any]) -> str:
    text = json.dumps([rfc3339(known_at) if known_at else None, *last], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str, dataset: Dataset) -> tuple[datetime, tuple[Any, ...]]:
    """Raises Invalid for anything that _encode() did not make for this data set."""
    try:
        known_at, at, *keys = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        types = {column.name: column.type for column in files.columns_of(dataset)}
        fits = [isinstance(key, int if types[name] == "integer" else str) for name, key in zip(dataset.series_key, keys, strict=True)]
        if not all(fits) or any(isinstance(key, bool) for key in keys):
            raise ValueError
        instants = [datetime.fromisoformat(text).astimezone(UTC) for text in (known_at, at)]
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise errors.Invalid({"cursor": "This is not a cursor that an earlier page gave as next_cursor."}) from None
    return instants[0], (instants[1], *keys)
