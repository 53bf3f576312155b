"""/models/{name}/predictions: the rows that were forecast, newest issue of each, or as stored by an instant."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flask import Response, jsonify
from flask.views import MethodView
from flask_smorest import Blueprint

from mlsys import errors
from mlsys.api import blueprints, jobs, prediction_schemas, schemas, streams
from mlsys.api.blueprints import resource
from mlsys.api.services import Services
from mlsys.clock import rfc3339
from mlsys.execution import requests
from mlsys.execution.backfill import BackfillRequest
from mlsys.execution.steps import Step
from mlsys.records import PredictionSource, Window
from mlsys.registry.unit_of_work import UnitOfWork
from mlsys.timetravel.predictions import Asked


def build(services: Services) -> Blueprint:
    predictions = resource("predictions", "/models", "What was forecast, and kept", services)

    @predictions.route("/<name>/predictions")
    class Predictions(MethodView):
        @predictions.arguments(prediction_schemas.PredictionsQuery, location="query")
        @predictions.response(200, prediction_schemas.PredictionsOut)
        def get(self, query: Mapping[str, Any], name: str) -> Response:
            """Rows of predictions, oldest first: a page, or all with Accept text/csv or application/vnd.apache.parquet."""
            with services.units() as unit:
                timezone = unit.models.get(name).definition["timezone"]
                now = unit.predictions.now(name)
                source = query.get("source") or _source(unit, name, query.get("run_id"))
            asked = _asked(name, query, timezone, now, source)
            type = streams.wanted()
            if type == streams.JSON:
                return _page(services, asked, query)
            if "cursor" in query:
                raise errors.Invalid({"cursor": "Pages are of JSON; as CSV or parquet all rows come at once."})
            return streams.answer(services.predictions.rows(asked), type, name=f"{name}-predictions", places=services.downloads)

    @predictions.route("/<name>/backfill")
    class Backfill(MethodView):
        @predictions.arguments(prediction_schemas.BackfillBody)
        @predictions.response(202, schemas.RunOut, headers={"Location": {"schema": {"type": "string"}}})
        @predictions.alt_response(
            200,
            schema=prediction_schemas.PlanOut,
            description="With dry_run: the plan. (With Prefer: wait, the run if it has ended.)",
        )
        def post(self, body: Mapping[str, Any], name: str) -> Response:
            """Forecasts as they would have been issued then: model and knowledge of each step's own time. Does only what is missing."""
            given: dict[str, Any] = {field: body.get(field) for field in ("start_date", "end_date", "step", "priority")}
            asked = BackfillRequest(model_name=name, **given)
            if body["dry_run"]:
                return jsonify(prediction_schemas.PlanOut().dump(_told(name, services.backfills.plan(asked))))
            return jobs.answered(services, services.backfills.start(asked, trigger=blueprints.trigger()))

    return predictions


def _told(name: str, steps: list[Step]) -> dict[str, Any]:
    counts = {state: sum(step.state == state for step in steps) for state in ("missing", "present", "no_model")}
    return {"model_name": name, "steps": steps, **counts}


def _source(unit: UnitOfWork, name: str, run_id: str | None) -> PredictionSource:
    """What the rows of a run were made for. Raises Invalid for a run that is none of this model."""
    if run_id is None:
        return "live"
    try:
        run = unit.runs.get(run_id)
    except errors.NotFound as error:
        raise errors.Invalid({"run_id": error.message}) from None
    if run.model_name != name:
        raise errors.Invalid({"run_id": f"The run {run_id} is of {run.model_name!r}."})
    told: PredictionSource = run.spec.get("source", "live")
    kinds: Mapping[str, PredictionSource] = {"backfill": "backfill", "backtest": "backtest"}
    return kinds.get(run.kind, told)


def _asked(name: str, query: Mapping[str, Any], timezone: str, now: datetime, source: PredictionSource) -> Asked:
    known_at = min(now, requests.cut(query["data_at"], "data_at", timezone=timezone)) if "data_at" in query else now
    window = None
    if "start_date" in query or "end_date" in query:
        ends = (query.get("start_date", requests.EARLIEST), query.get("end_date", requests.LATEST))
        window = requests.span(*ends, timezone=timezone)
    return Asked(
        model_name=name,
        source=source,
        known_at=known_at,
        window=window,
        run_id=query.get("run_id"),
        model_version_id=query.get("model_version_id"),
        every_issue="run_id" in query,
    )


def _page(services: Services, asked: Asked, query: Mapping[str, Any]) -> Response:
    """Pages are of one moment: what is stored between two of them is in neither."""
    limit = query["limit"]
    if "cursor" in query:
        known_at, start, skip = _decode(query["cursor"])
        end = asked.window.end if asked.window else requests.LATEST
        asked = replace(asked, known_at=known_at, skip=skip, window=Window(start=start, end=max(start, end)))
    with services.predictions.rows(replace(asked, limit=limit + 1)) as reader:
        rows = reader.read_all().to_pylist()
    items = [{name: streams.plain(value) for name, value in row.items()} for row in rows[:limit]]
    following = _following(asked, rows[:limit]) if len(rows) > limit else None
    return jsonify({"items": items, "next_cursor": following, "known_at": rfc3339(asked.known_at)})


def _following(asked: Asked, rows: list[dict[str, Any]]) -> str:
    """The next page begins at the last timestamp of this one, less the rows of it that were given already."""
    last = rows[-1]["timestamp"]
    given = sum(row["timestamp"] == last for row in rows)
    if asked.window is not None and asked.window.start == last:
        given += asked.skip
    text = json.dumps([rfc3339(asked.known_at), rfc3339(last), given], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[datetime, datetime, int]:
    """Raises Invalid for anything that _following() did not make."""
    try:
        *texts, skip = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        known_at, start = (datetime.fromisoformat(text).astimezone(UTC) for text in texts)
        if type(skip) is not int or not 0 <= skip < 2**63:
            raise ValueError
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise errors.Invalid({"cursor": "This is not a cursor that an earlier page gave as next_cursor."}) from None
    return known_at, start, skip
