"""/models/{name}/accuracy: issued forecasts against the actuals known now, per day and lead time."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any
from urllib.parse import quote, urlencode

import marshmallow as ma
from flask import Response, jsonify
from flask.views import MethodView
from flask_smorest import Blueprint
from marshmallow import fields

from mlsys import errors
from mlsys.api import streams
from mlsys.api.blueprints import resource
from mlsys.api.fields import Day, name
from mlsys.api.services import Services
from mlsys.clock import rfc3339
from mlsys.execution import requests
from mlsys.monitoring.accuracy import BY, Question
from mlsys.pipelines import durations
from mlsys.registry import production

_DAY = {"type": "string", "description": "A plain date, or an RFC 3339 instant. A plain end date includes that whole day."}
_DATE_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}


class AccuracyQuery(ma.Schema):
    start_date = Day(metadata=_DAY)
    end_date = Day(metadata=_DAY)
    by = fields.String(validate=ma.validate.OneOf(BY), metadata={"description": "Only these figures; default: both."})
    model_version_id = name(metadata={"description": "Only forecasts by that version."})
    data_at = Day(metadata=_DAY | {"description": "Forecasts stored, and actuals known, up to then; default: now."})
    lead_time = fields.String(metadata={"description": "Of rows as CSV or parquet: issued so long before, such as PT6H .."})
    lead_time_end = fields.String(metadata={"description": ".. up to so long, which is excluded."})


class BaselineOut(ma.Schema):
    rows = fields.Integer()
    mae = fields.Float(allow_none=True)
    rmse = fields.Float(allow_none=True)
    bias = fields.Float(allow_none=True)
    skill = fields.Float(allow_none=True)


class BaselinesOut(ma.Schema):
    seasonal_naive = fields.Nested(BaselineOut)


class QuantileOut(ma.Schema):
    name = fields.String()
    level = fields.Float()
    share_below = fields.Float(
        allow_none=True, metadata={"description": "Share of actuals that it was not exceeded by: ideally the level."}
    )
    pinball = fields.Float(allow_none=True)


class FiguresOut(ma.Schema):
    """Errors are forecast minus actual, in the target's unit; skill is 1 - mae / mae of the seasonal naive forecast."""

    rows = fields.Integer()
    active_rows = fields.Integer(metadata={"description": "Those not known to be 0 (night), by which quantiles are judged."})
    mae = fields.Float(allow_none=True)
    rmse = fields.Float(allow_none=True)
    bias = fields.Float(allow_none=True)
    skill = fields.Float(allow_none=True)
    baselines = fields.Nested(BaselinesOut)
    quantiles = fields.List(fields.Nested(QuantileOut))
    coverage = fields.Float(allow_none=True, metadata={"description": "Share of actuals from the lowest to the highest quantile."})
    nominal_coverage = fields.Float(allow_none=True)
    pinball = fields.Float(allow_none=True)
    run_ids = fields.List(fields.String(), metadata={"description": "Runs whose forecasts these are, the first hundred."})
    runs = fields.Integer()
    model_version_ids = fields.List(fields.String())
    rows_url = fields.String(metadata={"description": "The rows behind the figures: GET with Accept text/csv or parquet."})


class DayFiguresOut(FiguresOut):
    day = fields.String()


class LeadFiguresOut(FiguresOut):
    lead_time = fields.String()
    lead_time_end = fields.String()


class EpisodeOut(ma.Schema):
    first_day = fields.String()
    last_day = fields.String()
    raised_at = fields.String()
    detail = fields.Dict()


class AccuracyOut(ma.Schema):
    model_name = fields.String()
    start_date = fields.String(allow_none=True, metadata=_DATE_TIME)
    end_date = fields.String(allow_none=True, metadata=_DATE_TIME)
    known_at = fields.String(metadata=_DATE_TIME)
    model_version_id = fields.String(allow_none=True)
    rows = fields.Integer(metadata={"description": "Timestamps (of each series) that were forecast."})
    scored_rows = fields.Integer(metadata={"description": "Those that have been measured."})
    late_rows = fields.Integer(metadata={"description": "Those of them whose forecast was stored after their own time."})
    reason = fields.String(allow_none=True, metadata={"description": "Why nothing could be scored."})
    overall = fields.Nested(FiguresOut, allow_none=True)
    by_day = fields.List(fields.Nested(DayFiguresOut), metadata={"description": "Of the forecasts in force, by local day."})
    by_lead_time = fields.List(fields.Nested(LeadFiguresOut), metadata={"description": "Of every issue, by the time from issue to row."})
    degraded = fields.Nested(EpisodeOut, allow_none=True, metadata={"description": "The episode of degraded accuracy that lasts, if any."})


def build(services: Services) -> Blueprint:
    accuracy = resource("accuracy", "/models", "How right forecasts were", services)

    @accuracy.route("/<name>/accuracy")
    class Accuracy(MethodView):
        @accuracy.arguments(AccuracyQuery, location="query")
        @accuracy.response(200, AccuracyOut)
        def get(self, query: Mapping[str, Any], name: str) -> Response:
            """Issued forecasts against the actuals known now: figures, or the rows behind them with Accept text/csv or parquet."""
            question = _question(services, query, name)
            type = streams.wanted()
            if type != streams.JSON:
                reader = services.accuracy.rows(question).to_reader()
                return streams.answer(nullcontext(reader), type, name=f"{name}-accuracy", places=services.downloads)
            if question.lead is not None:
                raise errors.Invalid({"lead_time": "This chooses rows; ask for them with Accept text/csv or parquet."})
            found = services.accuracy.report(question)
            _link(found, question)
            with services.units() as unit:
                episode = unit.episodes.open(name)
            return jsonify(found | {"degraded": episode and _told(episode)})

    return accuracy


def _question(services: Services, query: Mapping[str, Any], model_name: str) -> Question:
    with services.units() as unit:
        zone = unit.models.get(model_name).definition["timezone"]
        now = unit.predictions.now(model_name)
        if "model_version_id" in query:
            production.named(unit, query["model_version_id"], model_name)
    then = requests.cut(query["data_at"], "data_at", timezone=zone) if "data_at" in query else None
    ends = (query.get("start_date", requests.EARLIEST), query.get("end_date", requests.LATEST))
    window = requests.span(*ends, timezone=zone)
    return Question(
        model_name=model_name,
        known_at=min(now, then) if then else now,
        actuals_at=then,
        start=window.start if "start_date" in query else None,
        end=window.end if "end_date" in query else None,
        by=(query["by"],) if "by" in query else BY,
        model_version_id=query.get("model_version_id"),
        lead=_lead(query),
    )


def _lead(query: Mapping[str, Any]) -> Any:
    given = {name: query[name] for name in ("lead_time", "lead_time_end") if name in query}
    if not given:
        return None
    if len(given) < 2 or query.get("by") != "lead_time":
        raise errors.Invalid({"lead_time": "This goes with lead_time_end and by=lead_time."})
    found = {}
    for field, text in given.items():
        try:
            found[field] = durations.parse_duration(text)
        except ValueError as error:
            raise errors.Invalid({field: f"{error}."}) from None
    return found["lead_time"], found["lead_time_end"]


def _link(found: dict[str, Any], question: Question) -> None:
    """Each figure says where its rows are: the same question, for as many of them."""
    usual = {"data_at": rfc3339(question.known_at)}
    if question.model_version_id:
        usual["model_version_id"] = question.model_version_id
    whole = {"start_date": found["start_date"], "end_date": found["end_date"]}

    def url(**chosen: Any) -> str:
        return f"/models/{quote(question.model_name, safe='')}/accuracy?{urlencode(chosen | usual)}"

    if found["overall"]:
        found["overall"]["rows_url"] = url(**whole)
    for one in found["by_day"]:
        one["rows_url"] = url(start_date=one["day"], end_date=one["day"])
    for one in found["by_lead_time"]:
        one["rows_url"] = url(**whole, by="lead_time", lead_time=one["lead_time"], lead_time_end=one["lead_time_end"])


def _told(episode: Any) -> dict[str, Any]:
    return {
        "first_day": str(episode.first_day),
        "last_day": str(episode.last_day),
        "raised_at": rfc3339(episode.created_at),
        "detail": dict(episode.detail),
    }
