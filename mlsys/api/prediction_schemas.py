"""The shapes of kept predictions and backfills, in and out. Names here are public."""

from typing import Any

import marshmallow as ma
from marshmallow import fields

from mlsys.api.fields import Day, Flag, Instant, name, priority

_DAY = {"type": "string", "description": "A plain date, or an RFC 3339 instant. A plain end date includes that whole day."}
_INSTANT: dict[str, Any] = {"type": "string", "format": "date-time"}


class PredictionsQuery(ma.Schema):
    start_date = Day(metadata=_DAY)
    end_date = Day(metadata=_DAY)
    data_at = Day(metadata=_DAY | {"description": "Only rows stored by then; default: now."})
    source = fields.String(
        validate=ma.validate.OneOf(["live", "backfill", "replay", "backtest"]),
        metadata={"description": "What was forecast for later than it was issued lies apart, by what it was made for. Default: live."},
    )
    run_id = name(metadata={"description": "Only rows of that run, whichever source: every issue of them, not only the newest."})
    model_version_id = name(metadata={"description": "Only rows by that version."})
    limit = fields.Integer(strict=False, load_default=1000, validate=ma.validate.Range(1, 10_000))
    cursor = fields.String(validate=ma.validate.Length(min=1, max=1000), metadata={"description": "next_cursor of the page before."})


class PredictionOut(ma.Schema):
    """And the series keys, after timestamp, and quantile_P10 .. after prediction, as many as the model forecasts (null in rows without)."""

    class Meta:
        unknown = ma.INCLUDE

    timestamp = Instant(metadata=_INSTANT)
    prediction = fields.Float()
    quality = fields.String(metadata={"enum": ["ok", "substituted"]})
    issued_at = Instant(metadata=_INSTANT | {"description": "The instant whose knowledge the row used."})
    created_at = Instant(metadata=_INSTANT | {"description": "When it was stored; what data_at cuts on."})
    model_version_id = fields.String(allow_none=True, metadata={"description": "None: a backtest makes its own models."})
    run_id = fields.String()


class PredictionsOut(ma.Schema):
    items = fields.List(
        fields.Nested(PredictionOut),
        metadata={
            "description": "Besides what is named here: series keys by their own names, and quantile_P10 .. as many as the model "
            "forecasts; in rows of a backtest also actual, and seasonal_naive, climatology and production: what those forecast."
        },
    )
    next_cursor = fields.String(allow_none=True)
    known_at = Instant(metadata=_INSTANT)


class BackfillBody(ma.Schema):
    start_date = Day(required=True, metadata=_DAY)
    end_date = Day(required=True, metadata=_DAY)
    step = fields.String(
        required=True,
        validate=ma.validate.Length(1, 100),
        metadata={"description": "ISO 8601 duration from one forecast to the next, such as P1D; each reaches to the next."},
    )
    priority = priority()
    dry_run = Flag(load_default=False, metadata={"type": "boolean", "description": "Only tell what would be done."})


class StepOut(ma.Schema):
    start = Instant(metadata=_INSTANT)
    end = Instant(metadata=_INSTANT)
    model_version_id = fields.String(allow_none=True)
    state = fields.String(metadata={"enum": ["missing", "present", "no_model"]})


class PlanOut(ma.Schema):
    model_name = fields.String()
    steps = fields.List(fields.Nested(StepOut))
    missing = fields.Integer()
    present = fields.Integer()
    no_model = fields.Integer()
