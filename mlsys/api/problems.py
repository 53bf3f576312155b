"""The one place where errors become HTTP answers: RFC 9457 problem+json, one shape for all, never a traceback, path or driver text."""

import http
import itertools
import json
import logging
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, g
from werkzeug.exceptions import HTTPException

from mlsys import errors

_log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"

STATUS: Mapping[type[errors.MlsysError], int] = {
    errors.Malformed: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.DamagedArtifact: 409,
    errors.StalePrecondition: 412,
    errors.TooLarge: 413,
    errors.UnsupportedType: 415,
    errors.Invalid: 422,
    errors.BadData: 422,
    errors.TooMany: 429,
    errors.Unavailable: 503,
}
_MOST_FIELDS = 50
_SAID = {
    404: "There is nothing at this address; /openapi.json lists what there is.",
    405: "This address does not take this method; the Allow header names those it takes.",
    413: "The body is larger than server.max_body_bytes allows.",
    415: "Send the body as application/json in UTF-8, not compressed, with that Content-Type.",
    500: "Something unexpected went wrong here. The server's log has the details under this request_id.",
}


def register(app: Flask) -> None:
    app.register_error_handler(errors.MlsysError, ours)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def ours(error: errors.MlsysError) -> Response:
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    if status == 500:
        return _unexpected(error)
    fields = error.fields if isinstance(error, errors.Invalid) else None
    return problem(status, error.message, kind=error.kind, fields=fields, headers=_headers(error))


def _headers(error: errors.MlsysError) -> dict[str, str]:
    """What the error says besides its text; of tokens as RFC 6750 has it."""
    if isinstance(error, errors.Unavailable):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, errors.Unauthorized):
        return {"WWW-Authenticate": 'Bearer realm="mlsys"' + (', error="invalid_token"' if error.shown else "")}
    if isinstance(error, errors.InsufficientScope):
        return {"WWW-Authenticate": f'Bearer realm="mlsys", error="insufficient_scope", scope="{error.scope}"'}
    return {}


def _http(error: HTTPException) -> Response:
    if error.response is not None or error.code is None or error.code < 400:
        return error.get_response()  # type: ignore[return-value]
    headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After", "WWW-Authenticate")}
    return problem(error.code, _SAID.get(error.code, http.HTTPStatus(error.code).description), headers=headers)


def _unexpected(error: Exception) -> Response:
    _log.error("request %s failed", g.get("request_id"), exc_info=error)
    return problem(500, _SAID[500])


def problem(
    status: int,
    detail: str,
    *,
    kind: str | None = None,
    fields: Mapping[str, list[str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer. ``fields`` becomes ``errors``: dotted field name -> messages."""
    data = body(status, detail, request_id=g.get("request_id", ""), kind=kind, fields=fields)
    return Response(data, status, headers, content_type=CONTENT_TYPE)


def body(status: int, detail: str, *, request_id: str, kind: str | None = None, fields: Mapping[str, list[str]] | None = None) -> bytes:
    """The one shape of all errors."""
    title = http.HTTPStatus(status).phrase
    found: dict[str, Any] = {
        "type": f"urn:mlsys:problem:{kind or title.lower().replace(' ', '_')}",
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }
    if fields is not None:
        found["errors"] = dict(itertools.islice(fields.items(), _MOST_FIELDS))
    return json.dumps(found).encode()
