"""/events: the event log in pages that may be waited for, and as server-sent events. Choosing and waiting is the follower's matter."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, nullcontext
from typing import Any

import marshmallow as ma
import orjson
from flask import Response, request
from flask.views import MethodView
from flask_smorest import Blueprint
from marshmallow import fields

from mlsys import errors
from mlsys.api import schemas
from mlsys.api.blueprints import resource
from mlsys.api.fields import Instant, Object, name
from mlsys.api.services import Services
from mlsys.events import types
from mlsys.events.types import SequencedEvent
from mlsys.publishing.follower import Chosen, Follower, Found
from mlsys.registry import pages

HEARTBEAT_SECONDS = 15.0
_RETRY_MILLISECONDS = 2000
_MOST_SEQUENCE = 2**63 - 1
_STREAM = "text/event-stream"
_ENDED = "The token or session of this request ended while it waited."
_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The id that a client which comes back has seen last; takes the place of after_sequence.",
}


class Patterns(fields.Field[tuple[str, ...]]):
    """In: event types and patterns such as model.*, separated by commas."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[str, ...]:
        patterns = tuple(part.strip() for part in str(value).split(","))
        if wrong := types.no_event(patterns):
            raise ma.ValidationError(wrong)
        return patterns


class StreamQuery(ma.Schema):
    after_sequence = fields.Integer(
        validate=ma.validate.Range(0, _MOST_SEQUENCE),
        metadata={"description": "Only events with a greater sequence. Default: 0, all of them; for the stream, those to come."},
    )
    type = Patterns(metadata={"type": "string", "description": "Only events of these types, separated by commas: run.failed,model.*"})
    model_name = name(metadata={"description": "Only events about this model."})


class EventsQuery(StreamQuery):
    wait = fields.Float(
        load_default=0.0,
        validate=ma.validate.Range(0, 60),
        metadata={"description": "Seconds to hold the answer while there is no such event."},
    )
    limit = fields.Integer(strict=False, load_default=50, validate=ma.validate.Range(1, 200))
    cursor = fields.String(
        validate=ma.validate.Length(min=1, max=100), metadata={"description": "next_cursor of the page before, in place of after_sequence."}
    )

    @ma.validates_schema
    def _one_start(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if "cursor" in data and "after_sequence" in data:
            raise ma.ValidationError("Give either cursor or after_sequence.", "cursor")


class EventOut(schemas.RecordOut):
    type = fields.String(metadata={"enum": list(types.NAMES)})
    timestamp = Instant(metadata={"type": "string", "format": "date-time"})
    sequence = fields.Integer(metadata={"description": "1, 2, 3 .. over all events, without a gap."})
    data = Object()


class EventPageOut(ma.Schema):
    items = fields.Nested(EventOut, many=True)
    next_cursor = fields.String(allow_none=True)
    last_sequence = fields.Integer(
        metadata={"description": "How far the log has been looked at: what to send next as after_sequence, also when no event was chosen."}
    )


def build(services: Services) -> Blueprint:
    events = resource("events", "/events", "What happened, in order and without a gap", services)
    follower = services.follower

    @events.route("")
    class Events(MethodView):
        @events.arguments(EventsQuery, location="query")
        @events.response(200, EventPageOut)
        def get(self, query: Mapping[str, Any]) -> Mapping[str, Any]:
            """Events, oldest first. Whoever goes on after ``last_sequence`` each time misses none.

            503 with Retry-After when too many wait already.
            """
            start = pages.decode(query["cursor"], "after") if "cursor" in query else query.get("after_sequence", 0)
            let_in = services.callers.still_let_in()
            with follower.places.one() if query["wait"] else nullcontext():
                found = follower.page(start, _chosen(query), limit=query["limit"], seconds=query["wait"])
            if query["wait"] and not let_in():
                raise errors.Unauthorized(_ENDED)
            cursor = pages.encode(found.last_sequence, "after") if found.more else None
            return {"items": found.items, "next_cursor": cursor, "last_sequence": found.last_sequence}

    @events.route("/stream")
    class Stream(MethodView):
        @events.arguments(StreamQuery, location="query")
        @events.response(200, {"type": "string"}, content_type=_STREAM)
        @events.doc(parameters=[_LAST_EVENT_ID])
        def get(self, query: Mapping[str, Any]) -> Response:
            """Events as they come, as server-sent events: ``id`` is the sequence, ``data`` the envelope.

            A client that comes back says Last-Event-ID and goes on after it. 503 with Retry-After when too many follow already.
            """
            if request.method == "HEAD":
                return Response(content_type=_STREAM)
            return _streamed(follower, _start(query, follower), _chosen(query), services.callers.still_let_in())

    return events


def _chosen(query: Mapping[str, Any]) -> Chosen:
    return Chosen(patterns=query.get("type", ()), model_name=query.get("model_name"))


def _start(query: Mapping[str, Any], follower: Follower) -> int:
    """Last-Event-ID is the newer knowledge: a browser that comes back repeats the address of its first call."""
    told = request.headers.get("Last-Event-ID", "")
    if told:
        if not (told.isascii() and told.isdigit() and len(told) < 20 and int(told) <= _MOST_SEQUENCE):
            raise errors.Invalid({"Last-Event-ID": "This is no id of an event: a sequence, as in 17."})
        return int(told)
    return int(query["after_sequence"]) if "after_sequence" in query else follower.last()


def _streamed(follower: Follower, start: int, chosen: Chosen, let_in: Callable[[], bool]) -> Response:
    with ExitStack() as stack:
        stack.enter_context(follower.places.one())
        kept = stack.pop_all()
    response = Response(_messages(follower, start, chosen, let_in), content_type=_STREAM)
    response.call_on_close(kept.close)
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _messages(follower: Follower, start: int, chosen: Chosen, let_in: Callable[[], bool]) -> Iterator[bytes]:
    """Until this process stops, or the caller's token or session has ended: nothing is told after that."""
    yield f"retry: {_RETRY_MILLISECONDS}\nid: {start}\n\n".encode()
    for found in follower.batches(start, chosen, pulse=HEARTBEAT_SECONDS):
        if not let_in():
            return
        yield b"".join(map(_message, found.items)) + _heartbeat(found)


def _message(event: SequencedEvent) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (event.sequence, orjson.dumps(event.envelope()))


def _heartbeat(found: Found) -> bytes:
    """Says how far the log has been looked at, and to proxies and sockets that somebody is there. Without data a client is told nothing."""
    return b": \nid: %d\n\n" % found.last_sequence
