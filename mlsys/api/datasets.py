"""/datasets: append-only data sets, made, appended to and read as known at an instant. Rows stream in and out."""

from collections.abc import Mapping
from typing import Any

from flask import Response, g, jsonify, request
from flask.views import MethodView
from flask_smorest import Blueprint

from mlsys import errors
from mlsys.api import dataset_rows, dataset_schemas, schemas
from mlsys.api.blueprints import resource, then
from mlsys.api.services import Services
from mlsys.records import DatasetState
from mlsys.registry.pages import Page
from mlsys.timetravel import arrivals, declaring

ROWS_IN = (arrivals.JSON, arrivals.NDJSON, arrivals.CSV, arrivals.PARQUET)
_BODY = {"required": True, "content": {type: {"schema": {"type": "string", "format": "binary"}} for type in ROWS_IN[1:]}}
_ROW = {"type": "array", "items": {"type": "object"}}
_BODY["content"][arrivals.JSON] = {"schema": _ROW}  # type: ignore[index]


def build(services: Services) -> Blueprint:
    datasets = resource("datasets", "/datasets", "Append-only data sets, read as known at any instant", services)

    @datasets.route("")
    class Datasets(MethodView):
        @datasets.arguments(schemas.PageQuery, location="query")
        @datasets.response(200, schemas.page_of(dataset_schemas.DatasetOut))
        def get(self, query: Mapping[str, Any]) -> Page[DatasetState]:
            """Data sets, the one made last first."""
            with then(services, query) as unit:
                return unit.datasets.list(limit=query["limit"], cursor=query.get("cursor"))

        @datasets.arguments(dataset_schemas.DatasetBody)
        @datasets.response(201, dataset_schemas.DatasetOut)
        @datasets.alt_response(200, schema=dataset_schemas.DatasetOut, description="It was there already, declared the same.")
        def post(self, body: Mapping[str, Any]) -> tuple[DatasetState, int, dict[str, str]]:
            """Make a data set. Without columns its first rows decide them."""
            state, new = services.datasets.create(declaring.declare(**body))
            return state, 201 if new else 200, {"Location": f"/datasets/{state.dataset.name}"}

    @datasets.route("/<name>")
    class OneDataset(MethodView):
        @datasets.arguments(schemas.AsOfQuery, location="query")
        @datasets.response(200, dataset_schemas.DatasetOut)
        def get(self, query: Mapping[str, Any], name: str) -> DatasetState:
            """One data set: its columns, and what it holds."""
            with then(services, query) as unit:
                return unit.datasets.state(name)

    @datasets.route("/<name>/rows")
    class Rows(MethodView):
        @datasets.arguments(dataset_schemas.RowsQuery, location="query")
        @datasets.response(200, dataset_schemas.RowsOut)
        def get(self, query: Mapping[str, Any], name: str) -> Response:
            """Rows as known at an instant, oldest first: a page, or all with Accept text/csv or application/vnd.apache.parquet."""
            return dataset_rows.answer(services, name, query)

        @datasets.doc(requestBody=_BODY)
        @datasets.response(201, dataset_schemas.AppendedOut)
        def post(self, name: str) -> Response:
            """Append rows, all or none. A row for a key that is there already corrects it from now on."""
            limit = services.limits.max_upload_bytes
            if request.mimetype not in ROWS_IN or request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
                raise errors.UnsupportedType(f"Send rows uncompressed, with one of these as Content-Type: {', '.join(ROWS_IN)}.")
            if (request.content_length or 0) > limit:
                raise errors.TooLarge(
                    f"The body is larger than server.max_upload_bytes ({limit:,}) allows; send the rows in several parts."
                )
            request.max_content_length = limit
            appended = services.datasets.append(name, request.stream, request.mimetype, may_import=g.caller.may("admin"))
            answer = jsonify(dataset_schemas.AppendedOut().dump(appended))
            answer.status_code = 201
            return answer

    return datasets
