"""What every request passes before its view and every answer after it: request id, Host, origin, schema at head, safe headers."""

import logging
import secrets
import time
from urllib.parse import urlsplit

from flask import Flask, Response, g, request

from mlsys import errors
from mlsys.api.services import Services

_log = logging.getLogger(__name__)

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
CHANGING_GETS = frozenset({"/model/demote", "/migrate/"})
OPEN_BELOW_HEAD = frozenset({"/health/", "/migrate/"})
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def register(app: Flask, services: Services) -> None:
    hosts = LOOPBACK | services.limits.allowed_hosts

    @app.before_request
    def check() -> None:
        g.request_id = secrets.token_hex(8)
        g.started = time.perf_counter()
        if host_name(request.headers.get("Host", "")) not in hosts:
            raise errors.Malformed("This Host is not served here. Add it to server.allowed_hosts if it should be.")
        if request.method not in ("GET", "HEAD", "OPTIONS") or request.path in CHANGING_GETS:
            _refuse_other_sites()
        if not services.schema.at_head and request.path not in OPEN_BELOW_HEAD:
            raise errors.Unavailable("The database is below the newest revision. Bring it up: GET /migrate/ or `mlsys db upgrade`.")

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["X-Request-ID"] = g.get("request_id", "")
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        took = time.perf_counter() - g.get("started", time.perf_counter())
        _log.debug("%s %s %s %d %.1f ms", g.get("request_id"), request.method, request.path, response.status_code, took * 1000)
        return response


def host_name(host: str) -> str:
    """The name in a Host header, lower case, without port and IPv6 brackets; empty when it cannot be one."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    return "" if parts.username is not None or parts.path or parts.query or parts.fragment else (parts.hostname or "")


def _refuse_other_sites() -> None:
    origin = request.headers.get("Origin")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("Host", "").lower()
    if foreign or request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        raise errors.Forbidden("Refused: this request changes state and comes from another site's page.")
