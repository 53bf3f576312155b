"""Reads what a request carries: strict JSON (depth, numbers, keys, text) and strict queries. What it means is for the schemas."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any, NoReturn

import marshmallow as ma
from flask import Request
from webargs import core
from webargs.flaskparser import FlaskParser, is_json_request
from werkzeug.exceptions import UnsupportedMediaType

from mlsys import errors

MOST_VALUES = 10_000  # no command has as many; each unknown one would cost an error message


class StrictParser(FlaskParser):
    """webargs' parser with our reading of JSON, unknown query fields refused, and errors as errors.Invalid."""

    DEFAULT_UNKNOWN_BY_LOCATION = FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION | {"query": ma.RAISE, "json": ma.RAISE}

    def __init__(self, *, max_depth: int) -> None:
        super().__init__()
        self._max_depth = max_depth

    def _raw_load_json(self, req: Request) -> Any:
        data = req.get_data(cache=True)
        if not data:
            return core.missing
        if not is_json_request(req) or req.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise UnsupportedMediaType
        return read_json(data, max_depth=self._max_depth)

    def load_json(self, req: Request, schema: ma.Schema) -> Any:
        return self._raw_load_json(req)

    def load_querystring(self, req: Request, schema: ma.Schema) -> Any:
        twice = [name for name, values in req.args.lists() if len(values) > 1]
        if twice:
            raise errors.Invalid(dict.fromkeys(twice, "Given more than once."))
        for name, value in req.args.items():
            check_text(value, name)
        return super().load_querystring(req, schema)

    def handle_error(self, error: ma.ValidationError, req: Request, schema: ma.Schema, **_: Any) -> NoReturn:
        messages: Any = error.normalized_messages()  # type: ignore[no-untyped-call]
        by_location = messages if isinstance(messages, dict) else {}
        raise errors.Invalid({name: texts for location in by_location.values() for name, texts in flat(location)})


def flat(messages: Any, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """marshmallow's nested messages as (dotted field, texts)."""
    if isinstance(messages, dict):
        for name, inner in messages.items():
            yield from flat(inner, prefix if name == "_schema" else f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix or "body", [str(text) for text in messages]


def read_json(data: bytes, *, max_depth: int) -> Any:
    """The value. Raises Malformed for what is no JSON in UTF-8, or nested too deep, Invalid for NaN, infinity, twin keys, bad text."""
    too_deep = errors.Malformed(f"The JSON is nested deeper than {max_depth} levels.")
    try:
        # decoded here: json itself would also take UTF-16, and half a surrogate pair
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except RecursionError:
        raise too_deep from None
    except ValueError as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise errors.Malformed(f"The body is not valid JSON in UTF-8{where}.") from None
    level: list[tuple[str, Any]] = [("", value)]
    count = 0
    for _ in range(max_depth + 1):
        values = (inner for name, outer in level for inner in _inside(name, outer))
        level = list(islice(values, MOST_VALUES + 1))  # a megabyte holds half a million: no more of them is looked at than is needed
        count += len(level)
        if count > MOST_VALUES:
            raise errors.Malformed(f"The JSON holds more than {MOST_VALUES} values.")
        if not level:
            return value
    raise too_deep


class _Twins(dict[str, Any]):
    """An object that names a key twice. Told apart only where its own place in the body is known."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    return _Twins({name: None for name, count in Counter(name for name, _ in pairs).items() if count > 1})


def _inside(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, float) and not math.isfinite(value):
        raise errors.Invalid({name or "body": "NaN and infinity are not numbers that can be used."})
    if isinstance(value, str):
        check_text(value, name)
    if isinstance(value, dict):
        for key in value:
            check_text(key, name)
        if isinstance(value, _Twins):
            raise errors.Invalid({_dotted(name, key): "Given more than once." for key in value})
        yield from ((_dotted(name, key), inner) for key, inner in value.items())
    elif isinstance(value, list):
        yield from ((_dotted(name, str(index)), inner) for index, inner in enumerate(value))


def _dotted(name: str, inner: str) -> str:
    return f"{name}.{inner}" if name else inner


def check_text(text: str, name: str) -> None:
    """Raises Invalid for text that PostgreSQL cannot store."""
    try:
        text.encode()
    except UnicodeEncodeError:
        pass
    else:
        if "\x00" not in text:
            return
    raise errors.Invalid({name or "body": "The text holds a NUL or half a surrogate pair."})
