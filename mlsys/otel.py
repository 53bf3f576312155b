"""Tracing by OpenTelemetry's SDK: a provider of our own, none of its globals. Needs the extra: pip install mlsys[opentelemetry]."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from structlog import contextvars

import mlsys

_KINDS = {"server": SpanKind.SERVER, "consumer": SpanKind.CONSUMER, "internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}
_HEADER = "traceparent"
_SECONDS = 5.0


def exporting(address: str) -> "OpenTelemetry":
    """Sends spans in the background, by OTLP over HTTP; what cannot be sent is logged and dropped."""
    return OpenTelemetry(BatchSpanProcessor(OTLPSpanExporter(endpoint=address, timeout=_SECONDS)))


class OpenTelemetry:
    """A tracing.Tracer. Log lines inside of a span bear its ``trace_id``."""

    def __init__(self, processor: SpanProcessor) -> None:
        resource = Resource.create({"service.name": "mlsys", "service.version": mlsys.__version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("mlsys", mlsys.__version__)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, *, kind: str = "internal", parent: str | None = None, **told: Any) -> Iterator[None]:
        context = None if parent is None else self._propagator.extract({_HEADER: parent})
        # an exception's text may hold what is nobody's business: only its name is told
        given: Any = {"record_exception": False, "set_status_on_exception": False}
        with self._tracer.start_as_current_span(name, context=context, kind=_KINDS[kind], attributes=_known(told), **given) as span:
            bound = contextvars.bound_contextvars(trace_id=format_trace_id(span.get_span_context().trace_id))
            try:
                with bound:
                    yield
            except BaseException as error:
                self.fail(type(error).__name__)
                raise

    def tell(self, **told: Any) -> None:
        trace.get_current_span().set_attributes(_known(told))

    def fail(self, why: str) -> None:
        trace.get_current_span().set_status(StatusCode.ERROR, why)

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get(_HEADER)

    def close(self) -> None:
        self._provider.shutdown()


def _known(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value is not None}
