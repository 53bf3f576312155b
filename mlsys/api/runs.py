"""/runs: the run registry, what asks for a run once more, and what stops one."""

from collections.abc import Mapping
from typing import Any

from flask import Response
from flask.views import MethodView
from flask_smorest import Blueprint

from mlsys import errors
from mlsys.api import blueprints, jobs, schemas
from mlsys.api.blueprints import resource, then
from mlsys.api.services import Services
from mlsys.records import LogLine, Run
from mlsys.registry.pages import Page

_FIELDS = {"train": schemas.TrainBody().fields.keys(), "predict": schemas.PredictBody().fields.keys()}


def build(services: Services) -> Blueprint:
    runs = resource("runs", "/runs", "What was asked for, and what became of it", services)

    @runs.route("")
    class Runs(MethodView):
        @runs.arguments(schemas.RunsQuery, location="query")
        @runs.response(200, schemas.page_of(schemas.RunOut))
        def get(self, query: dict[str, Any]) -> Page[Run]:
            """Runs, newest first."""
            limit, cursor = query.pop("limit"), query.pop("cursor", None)
            with then(services, query) as unit:
                query.pop("as_of", None)
                return unit.runs.list(filters=query, limit=limit, cursor=cursor)

    @runs.route("/<id>")
    class OneRun(MethodView):
        @runs.arguments(schemas.AsOfQuery, location="query")
        @runs.response(200, schemas.RunOut)
        def get(self, query: Mapping[str, Any], id: str) -> Run:
            """One run."""
            with then(services, query) as unit:
                return unit.runs.get(id)

    @runs.route("/<id>/logs")
    class Logs(MethodView):
        @runs.arguments(schemas.PageQuery, location="query")
        @runs.response(200, schemas.page_of(schemas.LogLineOut))
        def get(self, query: Mapping[str, Any], id: str) -> Page[LogLine]:
            """What a run said, newest first."""
            with then(services, query) as unit:
                return unit.runs.logs(id, limit=query["limit"], cursor=query.get("cursor"))

    @runs.route("/<id>/history")
    class History(MethodView):
        @runs.arguments(schemas.PageQuery, location="query")
        @runs.response(200, schemas.page_of(schemas.RunChangeOut))
        def get(self, query: Mapping[str, Any], id: str) -> Any:
            """The state changes of a run, newest first, attempts kept apart."""
            with then(services, query) as unit:
                return unit.runs.history(id, limit=query["limit"], cursor=query.get("cursor"))

    @runs.route("/<id>/retry")
    class Retry(MethodView):
        @runs.arguments(schemas.RetryBody, required=False)
        @runs.response(202, schemas.RunOut, headers={"Location": {"schema": {"type": "string"}}})
        @runs.alt_response(200, schema=schemas.RunOut, description="The run has ended while Prefer: wait held the answer.")
        def post(self, body: Mapping[str, Any], id: str) -> Response:
            """Run the same again: same definition, parameters, window and knowledge; fields of the body change just those."""
            with services.units() as unit:
                kind = unit.runs.get(id).kind
            foreign = body.keys() - _FIELDS.get(kind, body.keys())
            if foreign:
                raise errors.Invalid(dict.fromkeys(sorted(foreign), "Unknown field."))
            return jobs.answered(services, services.jobs.retry(id, body, trigger=blueprints.trigger() | {"type": "api"}))

    @runs.route("/<id>/cancel")
    class Cancel(MethodView):
        @runs.arguments(schemas.CancelBody, required=False)
        @runs.response(202, schemas.RunOut, headers={"Location": {"schema": {"type": "string"}}})
        @runs.alt_response(200, schema=schemas.RunOut, description="The run has ended: it was queued, or Prefer: wait held the answer.")
        def post(self, body: Mapping[str, Any], id: str) -> Response:
            """Stop a run: a queued one at once, a running one at its next step, ``cancelling`` until then. 409 for one that has ended."""
            return jobs.answered(services, services.jobs.cancel(id))

    @runs.route("/<id>/replay")
    class Replay(MethodView):
        @runs.arguments(schemas.ReplayBody, required=False)
        @runs.response(202, schemas.RunOut, headers={"Location": {"schema": {"type": "string"}}})
        @runs.alt_response(200, schema=schemas.RunOut, description="The run has ended while Prefer: wait held the answer.")
        def post(self, body: Mapping[str, Any], id: str) -> Response:
            """Do a run once more from its stored spec and bytes, and compare: ``result.verdict``. Changes nothing else."""
            return jobs.answered(services, services.jobs.replay(id, trigger=blueprints.trigger() | {"type": "replay"}))

    return runs
