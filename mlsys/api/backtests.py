"""/models/{name}/backtest: what the model's recipe would have forecast over a range of the past."""

from collections.abc import Mapping
from typing import Any

import marshmallow as ma
from flask import Response
from flask.views import MethodView
from flask_smorest import Blueprint
from marshmallow import fields

from mlsys.api import blueprints, jobs, schemas
from mlsys.api.blueprints import resource
from mlsys.api.fields import Day
from mlsys.api.services import Services
from mlsys.execution.backtest import USUAL_WINDOW, BacktestRequest

_DAY = {"type": "string", "description": "A plain date, or an RFC 3339 instant. A plain end date includes that whole day."}
_LENGTH = ma.validate.Length(1, 100)


class Refit(ma.fields.Field[int | str]):
    """In: ``never``, or a whole number of steps; as text, too."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int | str:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ma.ValidationError("Write never, or after how many steps to fit anew: 1, 7 ..")
        return value


class TrainingWindow(ma.fields.Field[str | Mapping[str, Any]]):
    """In: a duration, ``expanding``, or an object with type and length."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str | Mapping[str, Any]:
        if not isinstance(value, str | dict):
            raise ma.ValidationError(f"Write a duration such as {USUAL_WINDOW}, expanding, or an object with type and length.")
        return value


class BacktestBody(ma.Schema):
    start_date = Day(required=True, metadata=_DAY | {"description": "The first origin: when the first forecast is issued."})
    end_date = Day(required=True, metadata=_DAY)
    step = fields.String(
        validate=_LENGTH, metadata={"description": "ISO 8601 duration from one origin to the next, such as P1D; default: the horizon."}
    )
    refit = Refit(
        metadata={
            "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}],
            "description": "never (default: one fit, before the first origin), or after how many steps the model is fit anew.",
        }
    )
    window = TrainingWindow(
        metadata={
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"type": {"type": "string", "enum": ["rolling", "expanding"]}, "length": {"type": "string"}},
                },
            ],
            "description": f"Length of the training data before an origin (default {USUAL_WINDOW}), or expanding: all there is. As an "
            "object: type, and the length at the first origin.",
        }
    )
    horizon = fields.String(
        validate=_LENGTH, metadata={"description": "How far each forecast reaches, and what the model is fit for; default: the model's."}
    )


def build(services: Services) -> Blueprint:
    backtests = resource("backtests", "/models", "Forecasts of the past, scored", services)

    @backtests.route("/<name>/backtest")
    class Backtest(MethodView):
        @backtests.arguments(BacktestBody)
        @backtests.response(202, schemas.RunOut, headers={"Location": {"schema": {"type": "string"}}})
        @backtests.alt_response(200, schema=schemas.RunOut, description="The run has ended while Prefer: wait held the answer.")
        def post(self, body: Mapping[str, Any], name: str) -> Response:
            """Forecast a range of the past from rolling origins, each from what was known then; the run's result tells how good that was.

            Its rows: GET /models/{name}/predictions?run_id=RUN, as parquet or CSV with their actuals and baselines.
            """
            asked = BacktestRequest(model_name=name, **body)
            return jobs.answered(services, services.backtests.start(asked, trigger=blueprints.trigger()))

    return backtests
