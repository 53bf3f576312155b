"""What every request passes before its view and every answer after it: Host, origin, schema at head, safe headers."""

import ipaddress
from urllib.parse import urlsplit

from flask import Flask, Response, g, request
from werkzeug.exceptions import MethodNotAllowed

from mlsys import errors
from mlsys.api.bodies import check_text
from mlsys.api.services import Services

CHANGING_GETS = frozenset({"/model/demote", "/migrate"})
OPEN_BELOW_HEAD = frozenset({"/health", "/migrate"})
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def register(app: Flask, services: Services) -> None:
    hosts = services.limits.allowed_hosts | {"localhost"}

    @app.before_request
    def check() -> None:
        host = host_name(request.headers.get("Host", ""))
        if host not in hosts and not _is_loopback(host):
            raise errors.Malformed("This Host is not served here. Add it to server.allowed_hosts if it should be.")
        check_text(request.path, "path")
        path = request.path.rstrip("/")  # with and without a slash an address is the same
        if request.method == "HEAD" and path in CHANGING_GETS:
            raise MethodNotAllowed(["GET", "OPTIONS"] if path == "/migrate" else ["GET", "OPTIONS", "POST"])
        if request.method not in ("GET", "HEAD", "OPTIONS") or path in CHANGING_GETS:
            _refuse_other_sites()
        if path not in OPEN_BELOW_HEAD and not services.schema.ready():
            raise errors.Unavailable("The database is not at the newest revision. Bring it there: GET /migrate/ or `mlsys db upgrade`.")

    @app.after_request
    def finish(response: Response) -> Response:
        headers = response.headers
        headers["X-Request-ID"] = g.get("request_id", "")
        for name, value in _HEADERS.items():
            if name not in headers:
                headers.add(name, value)
        return response


def host_name(host: str) -> str:
    """The name in a Host header, lower case, without port and IPv6 brackets; empty when it cannot be one."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    return "" if parts.username is not None or parts.path or parts.query or parts.fragment else (parts.hostname or "")


def _is_loopback(host: str) -> bool:
    """An address cannot be made to point elsewhere, as a name can: so all of them are safe."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_other_sites() -> None:
    origin, host = request.headers.get("Origin"), request.headers.get("Host", "")
    foreign = origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower())
    if foreign or request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        raise errors.Forbidden("Refused: this request changes state and comes from another site's page.")
