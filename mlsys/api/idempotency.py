"""Idempotency-Key on every POST: the same key and body get the same answer, and what was asked for is done once."""

import hashlib
import io
import json
import logging
import re
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, g, request

from mlsys import errors
from mlsys.api import callers, jobs, problems
from mlsys.api.services import Services
from mlsys.events import types
from mlsys.registry.idempotency import Stored
from mlsys.registry.webhooks import Sealed

_log = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Asked again with the same key and body, the answer is the same and nothing is done twice. Another body: 422. "
    "While the first is still in progress: 409.",
}
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_KEPT = ("Content-Type", "Location", "Preference-Applied", "Cache-Control")
_PROMOTIONS = (types.MODEL_PROMOTED, types.MODEL_DEMOTED)


class _Hashed(io.RawIOBase):
    """A body that is hashed as it is read."""

    def __init__(self, raw: Any, digest: Any) -> None:
        self._raw = raw
        self._digest = digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self._digest.update(data)
        return len(data)


def register(app: Flask, services: Services) -> None:
    @app.before_request
    def begin() -> Response | None:
        key = request.headers.get(HEADER)
        if key is None or request.method != "POST":
            return None
        if not _KEY.fullmatch(key):
            raise errors.Invalid({HEADER: "Write 1 to 255 visible ASCII characters."})
        serving = services.keys.request(_scope(), key, _fingerprint())
        stored = serving.__enter__()
        g.serving = serving
        return None if stored is None else _again(services, stored)

    @app.after_request
    def keep(response: Response) -> Response:
        if "serving" in g and 200 <= response.status_code < 300 and "Idempotent-Replayed" not in response.headers:
            try:
                services.keys.answer(_kept(services, response))
            except errors.MlsysError:
                _log.warning("the answer to a request with an idempotency key was not kept")
        return response

    @app.teardown_request
    def end(error: BaseException | None = None) -> None:
        if "serving" in g:
            g.pop("serving").__exit__(None, None, None)

    def repeated(error: errors.Repeated) -> Response:
        try:
            stored = services.keys.stored()
            return _again(services, stored) if stored else problems.ours(error)
        except errors.MlsysError as refused:
            return problems.ours(refused)

    app.register_error_handler(errors.Repeated, repeated)


def document(api: Any) -> None:
    """The header, for every POST of the document."""
    for operations in api.spec.to_dict()["paths"].values():
        if "post" in operations:
            operations["post"].setdefault("parameters", []).append(PARAMETER)


def _kept(services: Services, response: Response) -> dict[str, Any]:
    """What is stored of an answer; encrypted where it holds a secret."""
    headers = {name: response.headers[name] for name in _KEPT if name in response.headers}
    body, key_id = response.get_data(as_text=True), None
    if response.cache_control.no_store:
        sealed = services.sealer.seal(body)
        body, key_id = sealed.text, sealed.key_id
    return {"status": response.status_code, "headers": headers, "body": body, "key_id": key_id}


def _scope() -> str:
    """Keys are the caller's own: another's answer may hold what is none of its business."""
    who = callers.actor()
    return request.path.rstrip("/") + (f" {who}" if who else "")


def _fingerprint() -> Callable[[], str]:
    """Of address, query and body; only what is left of the body is read for it."""
    digest = hashlib.sha256()
    body = _Hashed(request.environ["wsgi.input"], digest)
    request.environ["wsgi.input"] = io.BufferedReader(body)
    query = request.query_string

    def fingerprint() -> str:
        while body.read(2**16):
            pass
        return hashlib.sha256(b"%s?%s" % (query, digest.digest())).hexdigest()

    return fingerprint


def _again(services: Services, stored: Stored) -> Response:
    """The answer that was given, or if it was lost the one that tells of what was done."""
    if stored.answer is not None:
        body, key_id = stored.answer["body"], stored.answer.get("key_id")
        if key_id is not None:
            body = services.sealer.open(Sealed(text=body, key_id=key_id))
        response = Response(body, status=stored.answer["status"], headers=stored.answer["headers"])
    else:
        response = _told(services, stored)
    response.headers["Idempotent-Replayed"] = "true"
    return response


def _told(services: Services, stored: Stored) -> Response:
    for type, data in stored.effects:
        if type in (types.RUN_QUEUED, types.RUN_CANCELLED):
            with services.units() as unit:
                run = unit.runs.get(data["run_id"])
            return jobs.answered(services, run)
        if type in _PROMOTIONS:
            return Response(json.dumps(dict(data)), mimetype="application/json")
    raise errors.Conflict("The request with this key was carried out, but its answer was lost. Look at what it did; do not send it again.")
