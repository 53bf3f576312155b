"""/model/promote and /model/demote: what a person decides about production."""

from collections.abc import Mapping
from typing import Any

from flask.views import MethodView
from flask_smorest import Blueprint

from mlsys import errors
from mlsys.api import blueprints, schemas
from mlsys.api.blueprints import resource
from mlsys.api.services import Services
from mlsys.records import Promotion


def build(services: Services) -> Blueprint:
    model = resource("production", "/model", "What is in production, decided by hand", services)

    @model.route("/promote")
    class Promote(MethodView):
        @model.arguments(schemas.PromoteBody)
        @model.response(200, schemas.PromotionOut)
        def post(self, body: Mapping[str, Any]) -> Promotion:
            """Put a version into production, whatever the gate said of it."""
            return services.production.promote(
                body["model_name"],
                body["model_version_id"],
                actor=blueprints.actor(),
                reason=body.get("reason"),
                expected_production=body.get("expected_production"),
            )

    @model.route("/demote")
    class Demote(MethodView):
        @model.arguments(schemas.DemoteArguments, location="query")
        @model.response(200, schemas.PromotionOut)
        def get(self, query: Mapping[str, Any]) -> Promotion:
            """Go back to the version that was in production before the present one."""
            return _demote(services, query)

        @model.arguments(schemas.DemoteBody, location="query", as_kwargs=False)
        @model.arguments(schemas.DemoteBody, required=False)
        @model.response(200, schemas.PromotionOut)
        def post(self, query: Mapping[str, Any], body: Mapping[str, Any]) -> Promotion:
            """The same; arguments in the query or the body."""
            twice = dict.fromkeys(query.keys() & body.keys(), "Given in the query and in the body.")
            if twice:
                raise errors.Invalid(twice)
            return _demote(services, {**body, **query})

    return model


def _demote(services: Services, arguments: Mapping[str, Any]) -> Promotion:
    if "model_name" not in arguments:
        raise errors.Invalid({"model_name": "Missing data for required field."})
    return services.production.demote(
        arguments["model_name"],
        actor=blueprints.actor(),
        reason=arguments.get("reason"),
        expected_production=arguments.get("expected_production"),
    )
