"""/runs: the run registry, read."""

from collections.abc import Mapping
from typing import Any

from flask.views import MethodView
from flask_smorest import Blueprint

from mlsys.api import schemas
from mlsys.api.blueprints import resource
from mlsys.api.services import Services
from mlsys.records import LogLine, Run
from mlsys.registry.pages import Page


def build(services: Services) -> Blueprint:
    runs = resource("runs", "/runs", "What was asked for, and what became of it", services)

    @runs.route("")
    class Runs(MethodView):
        @runs.arguments(schemas.RunsQuery, location="query")
        @runs.response(200, schemas.page_of(schemas.RunOut))
        def get(self, query: dict[str, Any]) -> Page[Run]:
            """Runs, newest first."""
            limit, cursor = query.pop("limit"), query.pop("cursor", None)
            with services.units() as unit:
                return unit.runs.list(filters=query, limit=limit, cursor=cursor)

    @runs.route("/<id>")
    class OneRun(MethodView):
        @runs.response(200, schemas.RunOut)
        def get(self, id: str) -> Run:
            """One run."""
            with services.units() as unit:
                return unit.runs.get(id)

    @runs.route("/<id>/logs")
    class Logs(MethodView):
        @runs.arguments(schemas.PageQuery, location="query")
        @runs.response(200, schemas.page_of(schemas.LogLineOut))
        def get(self, query: Mapping[str, Any], id: str) -> Page[LogLine]:
            """What a run said, newest first."""
            with services.units() as unit:
                return unit.runs.logs(id, limit=query["limit"], cursor=query.get("cursor"))

    @runs.route("/<id>/history")
    class History(MethodView):
        @runs.arguments(schemas.PageQuery, location="query")
        @runs.response(200, schemas.page_of(schemas.RunChangeOut))
        def get(self, query: Mapping[str, Any], id: str) -> Any:
            """The state changes of a run, newest first, attempts kept apart."""
            with services.units() as unit:
                return unit.runs.history(id, limit=query["limit"], cursor=query.get("cursor"))

    return runs
