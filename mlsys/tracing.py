"""Traces: what was done because of what, across requests, runs, their steps and deliveries. Off, each of these costs a function call.

Whoever begins something opens a span; what it hands on is the span's W3C traceparent, as text.
"""

from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Literal, Protocol, Self

from mlsys import errors

Kind = Literal["server", "consumer", "internal", "client"]
HEADER = "traceparent"


class Tracer(Protocol):
    def span(self, name: str, *, kind: Kind = "internal", parent: str | None = None, **told: Any) -> AbstractContextManager[None]:
        """A span around what is done in it, the current one of the thread meanwhile.

        ``parent``: a traceparent, which need not be a valid one; None: it is a child of the current span.
        """
        ...

    def tell(self, **told: Any) -> None:
        """What is known of the current span only later."""
        ...

    def fail(self, why: str) -> None:
        """What the current span stands for went wrong."""
        ...

    def traceparent(self) -> str | None:
        """Of the current span, to be handed on; None where nothing is traced."""
        ...

    def close(self) -> None:
        """Sends what has not been sent."""
        ...


class Untraced:
    def span(self, name: str, *, kind: Kind = "internal", parent: str | None = None, **told: Any) -> AbstractContextManager[None]:
        return nullcontext()

    def tell(self, **told: Any) -> None: ...
    def fail(self, why: str) -> None: ...

    def traceparent(self) -> str | None:
        return None

    def close(self) -> None: ...


class Steps:
    """Spans of steps that follow one another: each lasts until the next begins, the last until the context is left."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        """An exception is the last step's."""
        self._open.__exit__(*error)

    def enter(self, name: str) -> None:
        self._open.close()
        self._open.enter_context(self._tracer.span(name))


def sending_to(address: str) -> Tracer:
    """``address``: of an OpenTelemetry collector; empty: nothing is traced. Raises ConfigError where the extra is not installed."""
    if not address:
        return Untraced()
    try:
        from mlsys import otel
    except ImportError:
        raise errors.ConfigError("logging.traces needs OpenTelemetry: pip install 'mlsys[opentelemetry]'.") from None
    return otel.exporting(address)
