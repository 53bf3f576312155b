"""The shapes of the contract, in and out. Names here are public: renaming one breaks clients."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, get_args

import marshmallow as ma
from marshmallow import fields

from mlsys import records
from mlsys.api.fields import Day, Flag, Instant, Object, name, priority
from mlsys.records import RunKind

_DAY = {"type": "string", "description": "A plain date, or an RFC 3339 instant. A plain end date includes that whole day."}


class AsOfQuery(ma.Schema):
    as_of = Day(metadata=_DAY | {"description": "Answer as the registry stood then; of a plain date that whole day counts. Default: now."})


class PageQuery(AsOfQuery):
    limit = fields.Integer(strict=False, load_default=50, validate=ma.validate.Range(1, 200))
    cursor = fields.String(validate=ma.validate.Length(min=1, max=100), metadata={"description": "next_cursor of the page before."})


class RunsQuery(PageQuery):
    kind = fields.String(validate=ma.validate.OneOf(get_args(RunKind)))
    status = fields.String(
        validate=ma.validate.OneOf(["queued", "running", "cancelling", "succeeded", "failed", "crashed", "cancelled", "skipped"])
    )
    model_name = name()
    trigger = fields.String(validate=ma.validate.OneOf(["api", "cli", "schedule", "replay", "backfill"]))
    schedule = name(metadata={"description": "Only runs of this schedule: its firings, and those triggered by hand."})


class JobBody(ma.Schema):
    model_name = name(required=True)
    start_date = Day(required=True, metadata=_DAY)
    end_date = Day(required=True, metadata=_DAY)
    file_path = fields.String(
        validate=ma.validate.Length(min=1, max=4096), metadata={"description": "Below a data root; takes the place of the model's source."}
    )
    dataset = name(metadata={"description": "A data set; takes the place of the model's source."})
    priority = priority()
    time_travel = Flag(metadata={"type": "boolean", "description": "Use only what was known at time_travel_date."})
    time_travel_date = Day(metadata=_DAY | {"description": "Only rows with created_at up to then exist."})

    @ma.validates_schema
    def _time_travel(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if data.get("time_travel") and "time_travel_date" not in data:
            raise ma.ValidationError("Say to which date to travel.", "time_travel_date")
        if data.get("time_travel") is False and "time_travel_date" in data:
            raise ma.ValidationError("A date to travel to, but time_travel is false: leave one of the two out.", "time_travel")


class TrainBody(JobBody):
    params = fields.Dict(keys=fields.String(), metadata={"description": "Hyper-parameters of the model, seed among them."})
    promote = fields.String(
        validate=ma.validate.OneOf(["auto", "never"]), metadata={"description": "Default auto; with time_travel never."}
    )


class PredictBody(JobBody):
    model_version_id = name()
    model_at = Day(metadata=_DAY | {"description": "Predict with the version in production at that time."})
    data_at = Day(metadata=_DAY | {"description": "Predict from rows with created_at up to then."})

    @ma.validates_schema
    def _knobs(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        for knob in ("model_at", "data_at"):
            if knob in data and "time_travel_date" in data:
                raise ma.ValidationError("Give either time_travel_date or the knobs model_at and data_at.", knob)
        if "model_at" in data and "model_version_id" in data:
            raise ma.ValidationError("Give either model_at or model_version_id.", "model_at")


class RetryBody(TrainBody, PredictBody):
    """What may change in a run that is asked for again: the fields of its job, none required."""

    model_name = name(metadata={"description": "That of the run."})
    start_date = Day(metadata=_DAY)
    end_date = Day(metadata=_DAY)


class ReplayBody(ma.Schema):
    """Nothing to say: a replay is of what was."""


class CancelBody(ma.Schema):
    """Nothing to say."""


class PromoteBody(ma.Schema):
    model_name = name(required=True)
    model_version_id = name(required=True)
    reason = fields.String(validate=ma.validate.Length(max=2000))
    expected_production = name(metadata={"description": "The version you believe to be in production: 412 when it is another."})


class DemoteArguments(ma.Schema):
    model_name = name(required=True)
    reason = fields.String(validate=ma.validate.Length(max=2000))
    expected_production = name()


class DemoteBody(DemoteArguments):
    model_name = name()


class MigrateQuery(ma.Schema):
    version = name()
    direction = fields.String(load_default="up", validate=ma.validate.OneOf(["up", "down"]))
    force = Flag(load_default=False, metadata={"type": "boolean"})


class RecordOut(ma.Schema):
    """Shape of a record of ours.

    One that has just these fields is the shape, and is left to orjson, which writes records by itself: field by field, a page of fifty
    versions took twice as long. Raises TypeError where the two differ, so that a new attribute cannot reach clients unnoticed.
    """

    record: ClassVar[type[Any] | None] = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.record is not None and list(self.fields) != [field.name for field in dataclasses.fields(self.record)]:
            raise TypeError(f"{type(self).__name__} is not the shape of {self.record.__name__}")

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        return super().dump(obj, many=many) if self.record is None else obj

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """marshmallow would try each record as a mapping first."""
        return getattr(obj, attr, default)


class BlobOut(RecordOut):
    record = records.Blob

    sha256 = fields.String()
    size = fields.Integer()
    uri = fields.String()


class CheckOut(RecordOut):
    record = records.Verdict

    name = fields.String()
    passed = fields.Boolean()
    value = fields.Raw(allow_none=True)
    threshold = fields.Raw(allow_none=True)
    detail = fields.String()
    blocking = fields.Boolean(metadata={"description": "A failure stops the run or the promotion; false: a warning."})
    ground = fields.Boolean(metadata={"description": "A failure means that nothing can be judged: the champion stays."})
    data = fields.Dict(allow_none=True, metadata={"description": "The rows that the value rests on: start, end (exclusive), days, rows."})


class ValidationOut(RecordOut):
    record = records.Validation

    decision = fields.String(metadata={"enum": ["accepted", "rejected", "cannot_judge"]})
    checks = fields.Nested(CheckOut, many=True)


class RunOut(RecordOut):
    record = records.Run

    id = fields.String()
    kind = fields.String()
    model_name = fields.String()
    status = fields.String()
    trigger = Object()
    spec = Object()
    attempt = fields.Integer()
    priority = fields.Integer(metadata={"description": "0 to 100; the higher, the sooner."})
    created_at = Instant(metadata={"type": "string", "format": "date-time"})
    started_at = Instant(allow_none=True, metadata={"type": "string", "format": "date-time"})
    finished_at = Instant(allow_none=True, metadata={"type": "string", "format": "date-time"})
    progress = Object(allow_none=True)
    result = Object(allow_none=True)
    error = Object(allow_none=True)


class RunChangeOut(RecordOut):
    record = records.RunChange

    status = fields.String()
    attempt = fields.Integer()
    at = Instant(metadata={"type": "string", "format": "date-time"})
    detail = Object()


class LogLineOut(RecordOut):
    record = records.LogLine

    at = Instant(metadata={"type": "string", "format": "date-time"})
    attempt = fields.Integer()
    level = fields.String()
    message = fields.String()


class ModelOut(RecordOut):
    record = records.Model

    name = fields.String()
    definition = Object()
    created_at = Instant(metadata={"type": "string", "format": "date-time"})
    updated_at = Instant(metadata={"type": "string", "format": "date-time"})
    production = fields.String(allow_none=True, metadata={"description": "model_version_id of the version in production"})
    versions = fields.Integer(metadata={"description": "How many versions there are."})


class FreedOut(RecordOut):
    record = records.Freed

    at = Instant(metadata={"type": "string", "format": "date-time"})
    policy = fields.String()


class VersionOut(RecordOut):
    model_version_id = fields.String()
    model_name = fields.String()
    version = fields.Integer()
    run_id = fields.String()
    created_at = Instant(metadata={"type": "string", "format": "date-time"})
    artifact = fields.Nested(BlobOut)
    spec = Object()
    metrics = fields.Dict(values=fields.Float(allow_none=True))
    validation = fields.Nested(ValidationOut)
    status = fields.String(metadata={"enum": ["production", "candidate", "rejected", "archived"]})
    freed = fields.Nested(
        FreedOut,
        allow_none=True,
        metadata={"description": "When and by which rule its stored model was given up; null: it is there."},
    )


class PromotionOut(RecordOut):
    record = records.Promotion

    sequence = fields.Integer()
    model_name = fields.String()
    model_version_id = fields.String()
    previous_model_version_id = fields.String(allow_none=True)
    action = fields.String(metadata={"enum": ["promote", "demote", "auto"]})
    actor = fields.String()
    reason = fields.String(allow_none=True)
    created_at = Instant(metadata={"type": "string", "format": "date-time"})
    hash = fields.String()
    previous_hash = fields.String(allow_none=True)


class MigratedOut(ma.Schema):
    from_ = fields.String(data_key="from", allow_none=True)
    to = fields.String(allow_none=True)


class HealthOut(ma.Schema):
    status = fields.String(metadata={"enum": ["ok", "degraded", "down"]})
    checks = fields.Dict(
        values=fields.Dict(),
        metadata={"description": "By part, its `status` and, for those who may read, its figures; see docs/monitoring.md."},
    )
    version = fields.String()


class ProblemOut(ma.Schema):
    """RFC 9457."""

    type = fields.String()
    title = fields.String()
    status = fields.Integer()
    detail = fields.String()
    request_id = fields.String()
    errors = fields.Dict(values=fields.List(fields.String()))


def page_of(item: type[ma.Schema]) -> type[ma.Schema]:
    """``{"items": [...], "next_cursor": ...}`` of a shape."""
    members: dict[str, Any] = {"items": fields.Nested(item, many=True), "next_cursor": fields.String(allow_none=True)}
    return RecordOut.from_dict(members, name=item.__name__.removesuffix("Out") + "PageOut")
