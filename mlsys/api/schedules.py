"""/schedules: what runs when. Each change is a new row of the log; each firing is a run (GET /runs?schedule=)."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from flask import Response
from flask.views import MethodView
from flask_smorest import Blueprint

from mlsys import errors
from mlsys.api import blueprints, jobs, schedule_schemas, schemas
from mlsys.api.blueprints import resource, then
from mlsys.api.schedule_schemas import ScheduleOut
from mlsys.api.services import Services
from mlsys.records import ScheduleState
from mlsys.registry.pages import Page
from mlsys.scheduling import declaring
from mlsys.scheduling.service import fire_times


def build(services: Services) -> Blueprint:
    schedules = resource("schedules", "/schedules", "What runs when", services)

    @schedules.route("")
    class Schedules(MethodView):
        @schedules.arguments(schemas.PageQuery, location="query")
        @schedules.response(200, schemas.page_of(ScheduleOut))
        def get(self, query: Mapping[str, Any]) -> Page[dict[str, Any]]:
            """Schedules, the one made last first."""
            with then(services, query) as unit:
                found = unit.schedules.list(limit=query["limit"], cursor=query.get("cursor"))
                return Page(items=[_told(state, unit.as_of) for state in found.items], next_cursor=found.next_cursor)

        @schedules.arguments(schedule_schemas.ScheduleBody)
        @schedules.response(201, ScheduleOut)
        @schedules.alt_response(200, schema=ScheduleOut, description="It was there already, just so.")
        def post(self, body: dict[str, Any]) -> tuple[dict[str, Any], int, dict[str, str]]:
            """Make a schedule."""
            state, new = services.schedules.create(declaring.read(body.pop("name"), body))
            return _told(state), 201 if new else 200, {"Location": f"/schedules/{state.schedule.name}"}

    @schedules.route("/<name>")
    class OneSchedule(MethodView):
        @schedules.arguments(schemas.AsOfQuery, location="query")
        @schedules.response(200, ScheduleOut)
        def get(self, query: Mapping[str, Any], name: str) -> dict[str, Any]:
            """One schedule, and when it fires next."""
            with then(services, query) as unit:
                return _told(unit.schedules.get(name), unit.as_of)

        @schedules.arguments(schedule_schemas.NamedScheduleBody)
        @schedules.response(200, ScheduleOut)
        def put(self, body: dict[str, Any], name: str) -> dict[str, Any]:
            """Put another definition in place of the present one. What is left out has its default."""
            if body.pop("name", name) != name:
                raise errors.Invalid({"name": f"The address says {name!r}; a schedule cannot be renamed."})
            return _told(services.schedules.replace(declaring.read(name, body)))

        @schedules.response(204)
        def delete(self, name: str) -> None:
            """Delete a schedule. Its runs, and what it was, stay in the log."""
            services.schedules.delete(name)

    @schedules.route("/<name>/pause")
    class Pause(MethodView):
        @schedules.response(200, ScheduleOut)
        def post(self, name: str) -> dict[str, Any]:
            """No more firings until it is resumed."""
            return _told(services.schedules.switch(name, enabled=False))

    @schedules.route("/<name>/resume")
    class Resume(MethodView):
        @schedules.response(200, ScheduleOut)
        def post(self, name: str) -> dict[str, Any]:
            """Fires again, from its next time on; what a pause left out is not made up for."""
            return _told(services.schedules.switch(name, enabled=True))

    @schedules.route("/<name>/trigger")
    class Trigger(MethodView):
        @schedules.response(202, schemas.RunOut, headers={"Location": {"schema": {"type": "string"}}})
        @schedules.alt_response(200, schema=schemas.RunOut, description="The run has ended while Prefer: wait held the answer.")
        def post(self, name: str) -> Response:
            """Run it now, beside its own firings."""
            return jobs.answered(services, services.schedules.trigger(name, trigger=blueprints.trigger() | {"type": "api"}))

    return schedules


def _told(state: ScheduleState, as_of: datetime | None = None) -> dict[str, Any]:
    dated = {name: getattr(state, name) for name in ("declared", "created_at", "updated_at", "last_fire_time")}
    return {**asdict(state.schedule), **dated, "next_fire_times": fire_times(state, as_of=as_of)}
