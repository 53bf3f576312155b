"""How every resource makes its blueprint: our strict parser in place of webargs' own."""

from flask import request
from flask_smorest import Blueprint

from mlsys.api.bodies import StrictParser
from mlsys.api.services import Services


def resource(name: str, prefix: str, description: str, services: Services) -> Blueprint:
    blueprint = Blueprint(name, name, url_prefix=prefix, description=description)
    blueprint.ARGUMENTS_PARSER = StrictParser(max_depth=services.limits.max_json_depth)
    return blueprint


def caller() -> str:
    """How a command arrived, for trigger and actor: our own command line says so, all else is the API."""
    return "cli" if request.user_agent.string.startswith("mlsys-cli/") else "api"
