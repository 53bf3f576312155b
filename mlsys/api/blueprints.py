"""How every resource makes its blueprint: our strict parser in place of webargs' own."""

from collections.abc import Mapping
from typing import Any

import marshmallow as ma
from flask import current_app, request
from flask_smorest import Blueprint

from mlsys import errors
from mlsys.api import callers
from mlsys.api.bodies import StrictParser
from mlsys.api.services import Services
from mlsys.clock import rfc3339
from mlsys.execution import requests
from mlsys.registry.unit_of_work import UnitOfWork


class _Blueprint(Blueprint):
    def arguments(self, schema: type[ma.Schema], **kwargs: Any) -> Any:
        """One schema for all requests; given the class, webargs would build another for each."""
        return super().arguments(schema(), **kwargs)


def resource(name: str, prefix: str, description: str, services: Services) -> Blueprint:
    blueprint = _Blueprint(name, name, url_prefix=prefix, description=description)
    blueprint.ARGUMENTS_PARSER = StrictParser(max_depth=services.limits.max_json_depth)
    blueprint.before_request(_refuse_unknown_query)
    return blueprint


def _refuse_unknown_query() -> None:
    """Views with a query schema refuse unknown fields by themselves; the others take no query at all."""
    if not request.args or request.endpoint is None or request.method == "OPTIONS":
        return
    view = getattr(current_app.view_functions[request.endpoint], "view_class", None)
    method = getattr(view, request.method.lower().replace("head", "get"), None)
    documented = getattr(method, "_apidoc", {}).get("arguments", {}).get("parameters", [])
    if not any(parameter["in"] == "query" for parameter in documented if isinstance(parameter, dict)):
        raise errors.Invalid({name: ["Unknown field."] for name in request.args})


def then(services: Services, query: Mapping[str, Any], *, model_name: str | None = None) -> UnitOfWork:
    """A unit of work on the registries as they stood at ``as_of`` of the query; without one, as they stand.

    A plain date is one of the model's time zone, where the query is about a model. Raises Invalid, NotFound.
    """
    day = query.get("as_of")
    if day is None:
        return services.units()
    if model_name is None:
        return services.units(as_of=requests.cut(day, "as_of", timezone="UTC"))
    with services.units() as unit:
        model = unit.models.get(model_name)
    at = requests.cut(day, "as_of", timezone=model.definition["timezone"])
    if at < model.created_at:
        since = rfc3339(model.created_at)
        raise errors.NotFound(f"The model {model_name!r} did not exist yet at {rfc3339(at)}: it was first declared at {since}.")
    return services.units(as_of=at)


def trigger() -> dict[str, str]:
    """How a command arrived, and whose token came with it, where one did."""
    who = callers.actor()
    return {"type": _way()} | ({"actor": who} if who else {})


def actor() -> str:
    """Who decided: whose token it was, or how the command arrived."""
    return callers.actor() or _way()


def _way() -> str:
    """Our own command line says so, all else is the API."""
    return "cli" if request.user_agent.string.startswith("mlsys-cli/") else "api"
