"""/models: registered models, their versions, and the log of what was in production."""

from collections.abc import Mapping
from typing import Any

from flask.views import MethodView
from flask_smorest import Blueprint

from mlsys import errors
from mlsys.api import schemas
from mlsys.api.blueprints import resource, then
from mlsys.api.services import Services
from mlsys.records import Model, ModelVersion, Promotion
from mlsys.registry.pages import Page


def build(services: Services) -> Blueprint:
    models = resource("models", "/models", "Registered models and their versions", services)

    @models.route("")
    class Models(MethodView):
        @models.arguments(schemas.PageQuery, location="query")
        @models.response(200, schemas.page_of(schemas.ModelOut))
        def get(self, query: Mapping[str, Any]) -> Page[Model]:
            """Models, the one declared last first."""
            with then(services, query) as unit:
                return unit.models.list(limit=query["limit"], cursor=query.get("cursor"))

    @models.route("/<name>")
    class OneModel(MethodView):
        @models.arguments(schemas.AsOfQuery, location="query")
        @models.response(200, schemas.ModelOut)
        def get(self, query: Mapping[str, Any], name: str) -> Model:
            """One model: its definition, and what is in production."""
            with then(services, query, model_name=name) as unit:
                return unit.models.get(name)

    @models.route("/<name>/versions")
    class Versions(MethodView):
        @models.arguments(schemas.PageQuery, location="query")
        @models.response(200, schemas.page_of(schemas.VersionOut))
        def get(self, query: Mapping[str, Any], name: str) -> Page[ModelVersion]:
            """Versions of a model, newest first, rejected ones too."""
            with then(services, query, model_name=name) as unit:
                unit.models.get(name)
                return unit.versions.list(name, limit=query["limit"], cursor=query.get("cursor"))

    @models.route("/<name>/versions/<model_version_id>")
    class OneVersion(MethodView):
        @models.arguments(schemas.AsOfQuery, location="query")
        @models.response(200, schemas.VersionOut)
        def get(self, query: Mapping[str, Any], name: str, model_version_id: str) -> ModelVersion:
            """One version, with the gate's whole report."""
            with then(services, query, model_name=name) as unit:
                return unit.versions.get(model_version_id, model_name=name)

    @models.route("/<name>/production")
    class InProduction(MethodView):
        @models.arguments(schemas.AsOfQuery, location="query")
        @models.response(200, schemas.VersionOut)
        def get(self, query: Mapping[str, Any], name: str) -> ModelVersion:
            """The version in production. 404 when there is none."""
            with then(services, query, model_name=name) as unit:
                version = unit.versions.production(name)
                if version is None:
                    unit.models.get(name)
                    raise errors.NotFound(f"No version of {name!r} {'was' if 'as_of' in query else 'is'} in production.")
                return version

    @models.route("/<name>/promotions")
    class Promotions(MethodView):
        @models.arguments(schemas.PageQuery, location="query")
        @models.response(200, schemas.page_of(schemas.PromotionOut))
        def get(self, query: Mapping[str, Any], name: str) -> Page[Promotion]:
            """Every change of production, newest first."""
            with then(services, query, model_name=name) as unit:
                unit.models.get(name)
                return unit.promotions.list(name, limit=query["limit"], cursor=query.get("cursor"))

    return models
