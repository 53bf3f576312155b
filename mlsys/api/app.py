"""create_app: puts guard, idempotency, error mapper, resources, OpenAPI document and pages together. Nothing is opened here."""

import os
from collections.abc import Sequence
from typing import Any

import orjson
from flask import Blueprint, Flask, Response
from flask.json.provider import DefaultJSONProvider
from flask_smorest import Api

from mlsys.api import (
    accuracy,
    backtests,
    datasets,
    events,
    explanations,
    guard,
    idempotency,
    jobs,
    metrics,
    models,
    predictions,
    problems,
    production,
    requestlog,
    runs,
    schedules,
    schemas,
    scopes,
    system,
    webhooks,
)
from mlsys.api.fields import Day, Flag, Instant
from mlsys.api.services import Services
from mlsys.stored import StoredJson


class _Json(DefaultJSONProvider):
    """Answers are written by orjson: a page of runs is 100 kB, and the standard library took a third of its time. NaN becomes null."""

    def response(self, *args: Any, **kwargs: Any) -> Response:
        found = orjson.dumps(self._prepare_response_obj(args, kwargs), default=_as_stored, option=orjson.OPT_UTC_Z)
        return Response(found, content_type="application/json")


def _as_stored(value: object) -> orjson.Fragment:
    if isinstance(value, StoredJson):
        return orjson.Fragment(value.text)
    raise TypeError


class _App(Flask):
    def ensure_sync(self, func: Any) -> Any:
        """None of ours is a coroutine, and nine times a request is often to ask."""
        return func


class _Api(Api):
    ERROR_SCHEMA = schemas.ProblemOut

    def _register_responses(self) -> None:
        """The default responses are all errors."""
        self.DEFAULT_RESPONSE_CONTENT_TYPE = problems.CONTENT_TYPE
        super()._register_responses()
        del self.DEFAULT_RESPONSE_CONTENT_TYPE  # back to the class's own

    def _register_error_handlers(self) -> None:
        """Ours are in problems.py."""


def create_app(services: Services, *, pages: Sequence[Blueprint] = ()) -> Flask:
    """``pages``: blueprints that people look at; they stay out of the OpenAPI document."""
    app = _App("mlsys", static_folder=None, root_path=os.path.dirname(__file__))
    app.config |= {
        "MAX_CONTENT_LENGTH": services.limits.max_body_bytes,
        "API_TITLE": "mlsys",
        "API_VERSION": services.version,
        "OPENAPI_VERSION": "3.1.0",
        "OPENAPI_URL_PREFIX": "/",
        "OPENAPI_JSON_PATH": "openapi.json",
        "API_SPEC_OPTIONS": {"info": {"description": "Train, check, promote, use, watch and explain forecasting models."}},
    }
    app.json = _Json(app)
    app.url_map.strict_slashes = False
    requestlog.register(app, services)
    guard.register(app, services)
    idempotency.register(app, services)
    problems.register(app)
    api = _documented(app)
    for module in (
        datasets,
        jobs,
        production,
        runs,
        models,
        predictions,
        backtests,
        accuracy,
        explanations,
        schedules,
        events,
        webhooks,
        system,
        metrics,
    ):
        api.register_blueprint(module.build(services))
    api.register_blueprint(webhooks.build_deliveries(services))
    idempotency.document(api)
    scopes.document(api)
    for page in pages:
        app.register_blueprint(page)
    scopes.check(app)
    return app


def _documented(app: Flask) -> Any:
    api = _Api(app)
    for field in (Day, Instant, Flag):
        api.register_field(field, "string", None)
    return api
