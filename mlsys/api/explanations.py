"""/models/{name}/versions/{id}/explanation: what a version looks at, and what adds up to one of its forecasts."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import marshmallow as ma
from flask.views import MethodView
from flask_smorest import Blueprint
from marshmallow import fields

from mlsys import errors
from mlsys.api import schemas
from mlsys.api.blueprints import resource, then
from mlsys.api.fields import Day
from mlsys.api.services import Services
from mlsys.execution import requests
from mlsys.records import Explained, ModelVersion

_INSTANT = {"type": "string", "description": "An RFC 3339 instant; a plain date means its midnight in the model's time zone."}


class ExplanationQuery(schemas.AsOfQuery):
    timestamp = Day(metadata=_INSTANT | {"description": "Also tell what adds up to the forecast of this timestamp."})
    series = fields.String(
        validate=ma.validate.Length(1, 1000),
        metadata={"description": 'Which series, where there are several: the value of its key, or {"column": value, ..} as JSON.'},
    )
    data_at = Day(metadata=_INSTANT | {"description": "Forecast that timestamp from what was known then; default: now."})


class ImportanceOut(ma.Schema):
    source = fields.String(metadata={"description": "A column of the data, or what the features compute (hour, solar ..)."})
    gain = fields.Float(allow_none=True, metadata={"description": "By how much its splits lowered the training loss, in all."})
    gain_share = fields.Float(allow_none=True)
    permutation = fields.Float(
        allow_none=True,
        metadata={
            "description": "By how much the mean absolute error on the hold-out grows when its rows are shuffled; the target's unit."
        },
    )


class FeatureOut(ma.Schema):
    feature = fields.String()
    source = fields.String()
    gain = fields.Float(allow_none=True)


class MeasuredOut(ma.Schema):
    """Where permutation was measured: on the hold-out, by the model that had not seen it."""

    start = fields.String()
    end = fields.String()
    rows = fields.Integer()
    mae = fields.Float()


class PartOut(ma.Schema):
    feature = fields.String()
    value = fields.Raw(allow_none=True, metadata={"description": "A number, or the text of a category."})
    contribution = fields.Float()


class ContributionOut(ma.Schema):
    source = fields.String()
    contribution = fields.Float()
    features = fields.List(fields.Nested(PartOut))


class ExplainedForecastOut(ma.Schema):
    """``base`` and all contributions add up to ``raw_prediction``; ``prediction`` is that within the range seen in training."""

    timestamp = fields.String()
    series = fields.Dict()
    issued_at = fields.String()
    substituted = fields.Boolean()
    prediction = fields.Float()
    raw_prediction = fields.Float()
    base = fields.Float()
    contributions = fields.List(fields.Nested(ContributionOut))
    note = fields.String()


class ExplanationOut(ma.Schema):
    model_name = fields.String(attribute="version.model_name")
    model_version_id = fields.String(attribute="version.model_version_id")
    version = fields.Integer(attribute="version.version")
    importances = fields.List(fields.Nested(ImportanceOut))
    features = fields.List(fields.Nested(FeatureOut))
    permutation = fields.Nested(MeasuredOut, allow_none=True)
    note = fields.String(metadata={"description": "Why something is missing; empty: nothing is."})
    prediction = fields.Nested(ExplainedForecastOut, allow_none=True)


def build(services: Services) -> Blueprint:
    explanations = resource("explanations", "/models", "What versions look at", services)

    @explanations.route("/<name>/versions/<model_version_id>/explanation")
    class Explanation(MethodView):
        @explanations.arguments(ExplanationQuery, location="query")
        @explanations.response(200, ExplanationOut)
        def get(self, query: Mapping[str, Any], name: str, model_version_id: str) -> Explained:
            """Importances by gain and by permutation; with a timestamp, the contributions that add up to its forecast."""
            with then(services, query, model_name=name) as unit:
                version = unit.versions.get(model_version_id, model_name=name)
            _refuse_alone(query)
            found = services.explainer.importances(version)
            return replace(found, prediction=_forecast(services, version, query)) if "timestamp" in query else found

    return explanations


def _refuse_alone(query: Mapping[str, Any]) -> None:
    alone = [field for field in ("series", "data_at") if field in query and "timestamp" not in query]
    if alone:
        raise errors.Invalid(dict.fromkeys(alone, "This goes with a timestamp."))


def _forecast(services: Services, version: ModelVersion, query: Mapping[str, Any]) -> Mapping[str, Any]:
    definition = version.spec["definition"]
    zone, keys = definition["timezone"], definition["series_key"]
    at = requests.instant(query["timestamp"], "timestamp", zone)
    known_at = requests.cut(query["data_at"], "data_at", timezone=zone) if "data_at" in query else None
    series = _series(keys, query.get("series"))
    found = services.explainer.prediction(version, at, series, known_at=known_at)
    return {**found, "series": dict(zip(keys, series, strict=True))}


def _series(keys: list[str], text: str | None) -> tuple[Any, ...]:
    """The values of the series key that a query names. Raises Invalid."""
    if not keys:
        if text is not None:
            raise errors.Invalid({"series": "The model has one series only; leave this out."})
        return ()
    if text is None:
        raise errors.Invalid({"series": f"Say which series: the value of {' and '.join(keys)}."})
    try:
        given = json.loads(text)
    except ValueError:
        given = text
    if isinstance(given, dict) and set(given) == set(keys):
        return tuple(given[name] for name in keys)
    if len(keys) == 1 and not isinstance(given, dict | list):
        return (given,)
    raise errors.Invalid({"series": f"Write an object that gives {', '.join(keys)} a value."})
