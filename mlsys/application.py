"""The whole web application of a system: the API with the pages in it. The one place that knows both, for they do not know each other."""

from flask import Flask

from mlsys.api import callers, guard, problems
from mlsys.api.app import create_app
from mlsys.api.services import Services
from mlsys.web import login, pages


def make_app(services: Services) -> Flask:
    """Opens nothing."""
    overview = pages.build(units=services.units, health=services.health, version=services.version)
    sessions = login.build(door=services.callers, cookies=callers.COOKIES, problem=problems.ours, changing=guard.CHANGING_GETS)
    return create_app(services, pages=[overview, sessions])
