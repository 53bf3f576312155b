"""What every request passes before its view and every answer after it: Host, origin, scope, schema at head, safe headers."""

import ipaddress
from urllib.parse import urlsplit

from flask import Flask, Response, g, request
from werkzeug.exceptions import MethodNotAllowed

from mlsys import errors
from mlsys.api import scopes
from mlsys.api.bodies import check_text
from mlsys.api.cors import Cors
from mlsys.api.headers import SAFE
from mlsys.api.services import Services

CHANGING_GETS = frozenset({"/model/demote", "/migrate"})
OPEN_BELOW_HEAD = frozenset({"/health", "/metrics", "/migrate"})


def register(app: Flask, services: Services) -> None:
    hosts = services.limits.allowed_hosts | {"localhost"}
    cors = Cors(services.limits.cors_origins)

    @app.before_request
    def check() -> Response | None:
        host = host_name(request.headers.get("Host", ""))
        if host not in hosts and not _is_loopback(host):
            raise errors.Malformed("This Host is not served here. Add it to server.allowed_hosts if it should be.")
        check_text(request.path, "path")
        path = request.path.rstrip("/")  # with and without a slash an address is the same
        if request.method == "HEAD" and path in CHANGING_GETS:
            raise MethodNotAllowed(["GET", "OPTIONS"] if path == "/migrate" else ["GET", "OPTIONS", "POST"])
        asked = cors.preflight()
        if asked is not None:
            return asked
        changing = request.method not in ("GET", "HEAD", "OPTIONS") or path in CHANGING_GETS
        if changing and not cors.allows():
            _refuse_other_sites()
        services.callers.admit(scopes.needed(request.url_rule, request.method))
        if changing and "caller" in g and g.caller.by_cookie:
            _refuse_unsaid_origin()
        if path not in OPEN_BELOW_HEAD and not services.schema.ready():
            raise errors.Unavailable("The database is not at the newest revision. Bring it there: GET /migrate/ or `mlsys db upgrade`.")
        return None

    @app.after_request
    def finish(response: Response) -> Response:
        headers = response.headers
        headers["X-Request-ID"] = g.get("request_id", "")
        for name, value in SAFE.items():
            if name not in headers:
                headers.add(name, value)
        cors.finish(response)
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
    foreign = "Origin" in request.headers and not _from_here()
    if foreign or request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        raise errors.Forbidden("Refused: this request changes state and comes from another site's page.")


def _refuse_unsaid_origin() -> None:
    """A browser sends its cookie whoever made it ask: it must say that a page of ours did. A link from elsewhere says nothing at all."""
    if not _from_here() and request.headers.get("Sec-Fetch-Site") != "same-origin":
        raise errors.Forbidden("Refused: a browser's session changes state from mlsys' own pages only. Elsewhere use a token.")


def _from_here() -> bool:
    host = request.headers.get("Host", "").lower()
    return request.headers.get("Origin", "").lower() in (f"http://{host}", f"https://{host}")
