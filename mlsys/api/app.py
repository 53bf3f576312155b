"""create_app: puts guard, error mapper, resources, OpenAPI document and pages together. Nothing is opened here."""

import os
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Flask
from flask_smorest import Api

from mlsys.api import datasets, guard, jobs, models, problems, production, runs, schemas, system
from mlsys.api.fields import Day, Flag, Instant
from mlsys.api.services import Services


class _Api(Api):  # type: ignore[misc]
    ERROR_SCHEMA = schemas.ProblemOut

    def _register_error_handlers(self) -> None:
        """Ours are in problems.py."""


def create_app(services: Services, *, pages: Sequence[Blueprint] = ()) -> Flask:
    """``pages``: blueprints that people look at; they stay out of the OpenAPI document."""
    app = Flask("mlsys", static_folder=None, root_path=os.path.dirname(__file__))
    app.config |= {
        "MAX_CONTENT_LENGTH": services.limits.max_body_bytes,
        "API_TITLE": "mlsys",
        "API_VERSION": services.version,
        "OPENAPI_VERSION": "3.1.0",
        "OPENAPI_URL_PREFIX": "/",
        "OPENAPI_JSON_PATH": "openapi.json",
        "API_SPEC_OPTIONS": {"info": {"description": "Train, check, promote, use, watch and explain forecasting models."}},
    }
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    guard.register(app, services)
    problems.register(app)
    api = _documented(app)
    for module in (datasets, jobs, production, runs, models, system):
        api.register_blueprint(module.build(services))
    for page in pages:
        app.register_blueprint(page)
    return app


def _documented(app: Flask) -> Any:
    api = _Api(app)
    for field in (Day, Instant, Flag):
        api.register_field(field, "string", None)
    return api
