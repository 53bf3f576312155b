"""The shapes of schedules, in and out. What the values mean is checked where schedules are declared, for config.yaml alike."""

from typing import get_args

import marshmallow as ma
from marshmallow import fields

from mlsys.api.fields import Instant, name
from mlsys.records import Misfire, Overlap, ScheduleKind

_INSTANT = {"type": "string", "format": "date-time"}
_DURATION = {"description": "ISO 8601 duration from the time it fires, such as -P365D or PT0S; whole days are those of the time zone."}


class WindowBody(ma.Schema):
    start = fields.String(required=True, metadata=_DURATION)
    end = fields.String(required=True, metadata=_DURATION)


class ReplaceScheduleBody(ma.Schema):
    """A whole schedule; what is left out has its default."""

    kind = fields.String(required=True, metadata={"enum": list(get_args(ScheduleKind))})
    model_name = name(required=True)
    cron = fields.String(
        required=True, metadata={"description": "Minute, hour, day of month, month, day of week (0 and 7: Sunday), or @daily and its kin."}
    )
    timezone = fields.String(metadata={"description": "Zone that cron is read in; default UTC."})
    window = fields.Nested(WindowBody, required=True)
    params = fields.Dict(
        keys=fields.String(),
        metadata={"description": "Of a training its hyper-parameters; of a backfill step; of a backtest step, refit, window, horizon."},
    )
    misfire = fields.String(metadata={"enum": list(get_args(Misfire)), "description": "What becomes of missed firings; default run_once."})
    overlap = fields.String(
        metadata={"enum": list(get_args(Overlap)), "description": "When one is due and the run before has not ended; default skip."}
    )
    enabled = fields.Boolean(truthy={True}, falsy={False}, metadata={"description": "false: paused; default true."})


class NamedScheduleBody(ReplaceScheduleBody):
    name = name(metadata={"description": "That of the address."})


class ScheduleBody(ReplaceScheduleBody):
    name = name(required=True)


class WindowOut(ma.Schema):
    start = fields.String()
    end = fields.String()


class ScheduleOut(ma.Schema):
    name = fields.String()
    kind = fields.String()
    model_name = fields.String()
    cron = fields.String()
    timezone = fields.String()
    window = fields.Nested(WindowOut)
    params = fields.Dict()
    misfire = fields.String(metadata={"enum": list(get_args(Misfire))})
    overlap = fields.String(metadata={"enum": list(get_args(Overlap))})
    enabled = fields.Boolean()
    declared = fields.Boolean(metadata={"description": "Its present definition is that of config.yaml."})
    created_at = Instant(metadata=_INSTANT)
    updated_at = Instant(metadata=_INSTANT)
    last_fire_time = Instant(allow_none=True, metadata=_INSTANT | {"description": "Of the last firing recorded, run or not."})
    next_fire_times = fields.List(Instant(metadata=_INSTANT), metadata={"description": "The next five; none while it is paused."})
