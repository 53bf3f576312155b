"""The shapes of data sets, in and out."""

from collections.abc import Mapping
from typing import Any

import marshmallow as ma
from marshmallow import fields

from mlsys.api.fields import Day, Instant
from mlsys.api.fields import name as short
from mlsys.records import DatasetState

_DAY = {"type": "string", "description": "A plain date, or an RFC 3339 instant. A plain end date includes that whole day."}
_INSTANT = {"type": "string", "format": "date-time"}


class _Columns(fields.Field[Any]):
    """In: {name: type}, or [{name, type}]."""

    default_error_messages = {  # braces doubled: marshmallow formats it
        "invalid": "Write {{name: type}}, or [{{name: .., type: ..}}], 2,000 at most; types: timestamp, number, integer, text, boolean."
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        pairs = [{"name": key, "type": kind} for key, kind in value.items()] if isinstance(value, dict) else value
        if not isinstance(pairs, list) or len(pairs) > 2000 or not all(self._is_column(pair) for pair in pairs):
            raise self.make_error("invalid")
        return pairs

    def _is_column(self, pair: Any) -> bool:
        return isinstance(pair, dict) and set(pair) == {"name", "type"} and all(isinstance(text, str) for text in pair.values())


class DatasetBody(ma.Schema):
    name = fields.String(required=True)
    timestamp = short(required=True, metadata={"description": "The column that says what time a row is about."})
    series_key = fields.List(fields.String(), metadata={"description": "Columns that tell series apart."})
    created_at = short(metadata={"description": "Name under which rows tell when they became known; default created_at."})
    timezone = fields.String(metadata={"description": "Of timestamps without an offset; default UTC."})
    columns = _Columns(allow_none=True, metadata={"type": "object", "description": "{name: type}; left out, the first rows decide."})


class DatasetOut(ma.Schema):
    name = fields.String()
    timestamp = fields.String()
    series_key = fields.List(fields.String())
    created_at = fields.String()
    timezone = fields.String()
    columns = fields.List(fields.Dict(), allow_none=True)
    rows = fields.Integer(metadata={"description": "Corrections counted too."})
    files = fields.Integer()
    size = fields.Integer(metadata={"description": "Bytes stored."})
    start = Instant(allow_none=True, metadata=_INSTANT)
    end = Instant(allow_none=True, metadata=_INSTANT)
    defined_at = Instant(metadata=_INSTANT)
    last_append_at = Instant(allow_none=True, metadata=_INSTANT)

    @ma.pre_dump
    def _flat(self, state: DatasetState, **kwargs: Any) -> Mapping[str, Any]:
        of = state.dataset
        columns = None if of.columns is None else [{"name": column.name, "type": column.type} for column in of.columns]
        return {**vars(state), **vars(of), "columns": columns, "series_key": list(of.series_key)}


class AppendedOut(ma.Schema):
    dataset = fields.String()
    file = fields.Integer()
    sha256 = fields.String()
    rows = fields.Integer()
    start = Instant(metadata=_INSTANT)
    end = Instant(metadata=_INSTANT)
    first_created_at = Instant(metadata=_INSTANT | {"description": "When the first of the rows became known."})
    created_at = Instant(metadata=_INSTANT | {"description": "When all of them were known: the same, unless the rows said it themselves."})
    revised = fields.Integer(metadata={"description": "How many timestamps (of a series) were there before; values may be the same."})


class RowsQuery(ma.Schema):
    start_date = Day(metadata=_DAY)
    end_date = Day(metadata=_DAY)
    known_at = Day(metadata=_DAY | {"description": "Only what was known then; default: now."})
    limit = fields.Integer(strict=False, load_default=1000, validate=ma.validate.Range(1, 10_000))
    cursor = fields.String(validate=ma.validate.Length(min=1, max=20_000), metadata={"description": "next_cursor of the page before."})


class RowsOut(ma.Schema):
    items = fields.List(fields.Dict())
    next_cursor = fields.String(allow_none=True)
    known_at = Instant(metadata=_INSTANT)
