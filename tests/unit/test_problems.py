"""The one shape of all errors, pinned."""

import re

import flask
import front
import pytest
from flask.testing import FlaskClient

from mlsys import errors
from mlsys.api import problems
from mlsys.system import System

SECRET = "/srv/secret password=hunter2 SELECT * FROM runs"


def _kinds(root: type[errors.MlsysError]) -> list[type[errors.MlsysError]]:
    return [found for kind in root.__subclasses__() for found in (kind, *_kinds(kind))]


def _made(kind: type[errors.MlsysError]) -> errors.MlsysError:
    return kind({"field": "Do this."}) if issubclass(kind, errors.Invalid) else kind("Told.")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    return front.unstarted(tmp_path_factory.mktemp("problems"))


@pytest.fixture
def app(system: System) -> flask.Flask:
    return front.app_of(system)


def _raising(app: flask.Flask, error: Exception) -> FlaskClient:
    def view() -> str:
        raise error

    app.add_url_rule("/raises", view_func=view)
    return app.test_client()


@pytest.mark.parametrize("kind", _kinds(errors.MlsysError), ids=lambda kind: kind.__name__)
def test_shape__is_the_same_for_every_error_of_ours(app: flask.Flask, kind: type[errors.MlsysError]) -> None:
    answer = _raising(app, _made(kind)).get("/raises")
    assert answer.mimetype == "application/problem+json"
    assert answer.json is not None
    assert list(answer.json)[:5] == ["type", "title", "status", "detail", "request_id"]
    assert set(answer.json) - {"errors"} == {"type", "title", "status", "detail", "request_id"}
    assert answer.json["status"] == answer.status_code
    assert answer.json["request_id"] == answer.headers["X-Request-ID"]
    assert ("errors" in answer.json) == issubclass(kind, errors.Invalid)
    assert re.fullmatch(r"urn:mlsys:problem:[a-z_]+", answer.json["type"])
    assert ("Retry-After" in answer.headers) == issubclass(kind, errors.Unavailable)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.Malformed, 400),
        (errors.Forbidden, 403),
        (errors.NotFound, 404),
        (errors.Conflict, 409),
        (errors.DamagedArtifact, 409),
        (errors.StalePrecondition, 412),
        (errors.TooLarge, 413),
        (errors.Invalid, 422),
        (errors.EmptyWindow, 422),
        (errors.Unavailable, 503),
        (errors.DatabaseUnavailable, 503),
        (errors.ConfigError, 500),
    ],
)
def test_status__follows_the_meaning(app: flask.Flask, kind: type[errors.MlsysError], status: int) -> None:
    assert _raising(app, _made(kind)).get("/raises").status_code == status


@pytest.mark.parametrize(
    "error", [RuntimeError(SECRET), ValueError(SECRET), errors.ConfigError(SECRET), RecursionError(SECRET), KeyError(SECRET)]
)
def test_unexpected__tells_nothing_but_a_request_id(app: flask.Flask, error: Exception) -> None:
    answer = _raising(app, error).get("/raises")
    assert answer.status_code == 500
    assert answer.json is not None
    assert answer.json["detail"] == problems._SAID[500]
    for word in ("secret", "hunter2", "SELECT", "Traceback", "Error"):
        assert word not in answer.text.replace("Internal Server Error", "")


@pytest.mark.parametrize(
    ("method", "path", "headers", "data", "status"),
    [
        ("POST", "/job/train", {"Content-Type": "application/json"}, b"{", 400),
        ("POST", "/job/train", {"Content-Type": "application/json"}, b"[" * 100_000, 400),
        ("GET", "/nowhere", {}, None, 404),
        ("GET", "/job/train", {}, None, 405),
        ("DELETE", "/runs", {}, None, 405),
        ("BREW", "/runs", {}, None, 405),
        ("POST", "/job/train", {"Content-Type": "application/json"}, b" " * 2_000_000, 413),
        ("POST", "/job/train", {"Content-Type": "text/plain"}, b"{}", 415),
        ("POST", "/job/train", {"Content-Type": "text/json"}, b"{}", 415),
        ("POST", "/job/train", {}, b"{}", 415),
        ("POST", "/job/train", {"Content-Type": "application/x-www-form-urlencoded"}, b"model_name=m", 415),
        ("POST", "/job/train", {"Content-Type": "application/json", "Content-Encoding": "gzip"}, b"\x1f\x8b", 415),
        ("POST", "/job/train", {"Content-Type": "application/json"}, b"", 422),
        ("POST", "/job/train", {"Content-Type": "application/json"}, b"{}", 422),
        ("GET", "/runs", {}, None, 503),
    ],
)
def test_shape__is_the_same_for_what_http_refuses(
    app: flask.Flask, method: str, path: str, headers: dict[str, str], data: bytes | None, status: int
) -> None:
    answer = app.test_client().open(path, method=method, headers=headers, data=data)
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    assert answer.json is not None
    assert set(answer.json) - {"errors"} == {"type", "title", "status", "detail", "request_id"}
    assert answer.json["status"] == status
    assert ("Allow" in answer.headers) == (status == 405)
    assert ("Retry-After" in answer.headers) == (status == 503)
