"""One log line a request, and the request's id on every line that is logged meanwhile. Never the query, which may hold anything.

What changes something, and what is refused, is logged at info, what failed at warning; the many reads at debug: /metrics counts them, and a
monitor that asks for our health each second should not fill a disk.
"""

import logging
import secrets
import time

from flask import Flask, Response, g, request
from structlog import contextvars

from mlsys import tracing
from mlsys.api import callers, guard
from mlsys.api.services import Services

_log = logging.getLogger(__name__)

UNMATCHED = "(none)"
_LONGEST = 200


def register(app: Flask, services: Services) -> None:
    """Before all else that registers: so it comes first before a request, and last after it."""

    @app.before_request
    def begin() -> None:
        g.request_id = secrets.token_hex(8)
        g.started = time.perf_counter()
        contextvars.clear_contextvars()
        name = f"{request.method} {route()}"
        contextvars.bind_contextvars(request_id=g.request_id, action=name)
        told = {"http.request.method": request.method, "http.route": route(), "mlsys.request_id": g.request_id}
        g.span = services.tracer.span(name, kind="server", parent=request.headers.get(tracing.HEADER), **told)
        g.span.__enter__()

    @app.after_request
    def end(response: Response) -> Response:
        seconds = time.perf_counter() - g.started
        services.counted(request.method, route(), response.status_code, seconds)
        services.tracer.tell(**{"http.response.status_code": response.status_code, "mlsys.actor": callers.actor()})
        if response.status_code >= 500:
            services.tracer.fail(str(response.status_code))
        level = _level(response.status_code)
        if _log.isEnabledFor(level):
            _log.log(level, "%s %s %d", request.method, route(), response.status_code, extra=_told(response, seconds))
        return response

    @app.teardown_request
    def forget(error: BaseException | None) -> None:
        if (span := g.pop("span", None)) is not None:
            span.__exit__(None, None, None)
        contextvars.clear_contextvars()


def route() -> str:
    """The template that the address fits, as /runs/{id}: there are few of them, whatever clients ask for."""
    rule = request.url_rule
    return UNMATCHED if rule is None else rule.rule.replace("<", "{").replace(">", "}")


def changes() -> bool:
    """Whether the request is one that changes state."""
    return request.method not in ("GET", "HEAD", "OPTIONS") or request.path.rstrip("/") in guard.CHANGING_GETS


def _level(status: int) -> int:
    if status >= 500:
        return logging.WARNING
    return logging.INFO if status >= 400 or changes() else logging.DEBUG


def _told(response: Response, seconds: float) -> dict[str, object]:
    return {
        "method": request.method,
        "route": route(),
        "path": request.path[:_LONGEST],
        "status": response.status_code,
        "duration_ms": round(seconds * 1000, 1),
        "client": request.remote_addr,
        "actor": callers.actor(),
    }
