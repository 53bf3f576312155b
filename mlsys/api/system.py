"""/health/ and /migrate/: the state of the process, and moving the database's schema."""

from collections.abc import Mapping
from typing import Any

from flask import Response, jsonify
from flask.views import MethodView
from flask_smorest import Blueprint

from mlsys.api import schemas
from mlsys.api.blueprints import resource
from mlsys.api.services import Services


def build(services: Services) -> Blueprint:
    system = resource("system", "/", "The process itself", services)

    @system.route("/health/")
    class Health(MethodView):
        @system.response(200, schemas.HealthOut)
        @system.alt_response(503, schema=schemas.HealthOut, description="Down: not fit to serve.")
        def get(self) -> Response:
            """Liveness, and the readiness of each part; details only for those who may read."""
            found = services.health() | {"version": services.version}
            response = jsonify(found if services.callers.recognised() else _outline(found))
            response.status_code = 503 if found["status"] == "down" else 200
            return response

    @system.route("/migrate/")
    class Migrate(MethodView):
        @system.arguments(schemas.MigrateQuery, location="query")
        @system.response(200, schemas.MigratedOut)
        def get(self, query: Mapping[str, Any]) -> dict[str, str | None]:
            """Move the schema up to a revision (default: the newest), or down below one."""
            before, after = services.schema.move(query["direction"], query.get("version"), force=query["force"])
            return {"from_": before, "to": after}

    return system


def _outline(found: Mapping[str, Any]) -> dict[str, Any]:
    """What probes without a token need: whether it is well."""
    checks = {name: {"status": check["status"]} for name, check in found["checks"].items()}
    return {"status": found["status"], "checks": checks}
