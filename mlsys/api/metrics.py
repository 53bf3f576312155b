"""/metrics: for Prometheus to scrape, in the text or OpenMetrics form that it asks for."""

from flask import Response, request
from flask.views import MethodView
from flask_smorest import Blueprint
from prometheus_client.exposition import choose_encoder

from mlsys.api.blueprints import resource
from mlsys.api.services import Services

_TEXT = {"type": "string"}


def build(services: Services) -> Blueprint:
    metrics = resource("metrics", "/", "The process itself", services)

    @metrics.route("/metrics")
    class Metrics(MethodView):
        @metrics.response(200, _TEXT, content_type="text/plain", description="Prometheus' text format, or OpenMetrics to who takes it.")
        def get(self) -> Response:
            """What there is to watch: docs/monitoring.md explains each name."""
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
            return Response(encode(services.metrics), content_type=content_type)

    return metrics
