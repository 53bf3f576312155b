"""POST /job/train and /job/predict: work is queued and answered with 202, or held until it ends by ``Prefer: wait``."""

from collections.abc import Mapping
from typing import Any

from flask import Response, jsonify, request
from flask.views import MethodView
from flask_smorest import Blueprint

from mlsys.api import blueprints, schemas
from mlsys.api.blueprints import resource
from mlsys.api.services import Services
from mlsys.execution.requests import PredictRequest, TrainRequest
from mlsys.records import Run

_RUN = schemas.RunOut()  # to make one took a tenth of a request
_COMMON = ("model_name", "start_date", "end_date", "file_path", "dataset", "time_travel_date", "priority")


def build(services: Services) -> Blueprint:
    jobs = resource("jobs", "/job", "Commands that start work", services)

    @jobs.route("/train")
    class Train(MethodView):
        @jobs.arguments(schemas.TrainBody)
        @jobs.response(202, schemas.RunOut, headers={"Location": {"schema": {"type": "string"}}})
        @jobs.alt_response(200, schema=schemas.RunOut, description="The run has ended while Prefer: wait held the answer.")
        def post(self, body: Mapping[str, Any]) -> Response:
            """Train a model, check it, and put it into production if the gate accepts it."""
            usual = "never" if "time_travel_date" in body else "auto"
            asked = TrainRequest(**_common(body), params=body.get("params", {}), promote=body.get("promote", usual))
            return answered(services, services.jobs.train(asked, trigger=blueprints.trigger()))

    @jobs.route("/predict")
    class Predict(MethodView):
        @jobs.arguments(schemas.PredictBody)
        @jobs.response(202, schemas.RunOut, headers={"Location": {"schema": {"type": "string"}}})
        @jobs.alt_response(200, schema=schemas.RunOut, description="The run has ended while Prefer: wait held the answer.")
        def post(self, body: Mapping[str, Any]) -> Response:
            """Predict with the version in production, or the one named."""
            chosen: dict[str, Any] = {name: body.get(name) for name in ("model_version_id", "model_at", "data_at")}
            asked = PredictRequest(**_common(body), **chosen)
            return answered(services, services.jobs.predict(asked, trigger=blueprints.trigger()))

    return jobs


def _common(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: body.get(name) for name in _COMMON}


def answered(services: Services, run: Run) -> Response:
    """202 with the run's address, or the run once it has ended, as ``Prefer`` asks."""
    seconds = preferred_wait(request.headers.getlist("Prefer"))
    if seconds:
        run = services.waiter.wait(run.id, seconds=seconds)
    response = jsonify(_RUN.dump(run))
    response.status_code = 200 if run.finished else 202
    response.headers["Location"] = f"/runs/{run.id}"
    if seconds:
        response.headers["Preference-Applied"] = f"wait={seconds}"
    return response


def preferred_wait(headers: list[str]) -> int:
    """Seconds of ``Prefer: wait=N`` (RFC 7240), 60 at most; 0 for none, and for what cannot be read, as the RFC asks."""
    for preference in ",".join(headers).split(","):
        key, _, value = preference.split(";")[0].partition("=")
        number = value.strip().strip('"')
        if key.strip().lower() == "wait" and number.isascii() and number.isdigit():
            return min(int(number[:9]), 60)
    return 0
