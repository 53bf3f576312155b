"""Who may call: Host, Origin, Sec-Fetch-Site; and the headers of every answer."""

from pathlib import Path

import front
import pytest
from flask.testing import FlaskClient

from mlsys import errors
from mlsys.api.guard import host_name


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    system = front.unstarted(tmp_path_factory.mktemp("guard"), **{"server.allowed_hosts": ["mlsys.example.org"]})
    return front.app_of(system).test_client()


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:5000",
        "LocalHost:80",
        "localhost:",
        "127.0.0.1",
        "127.0.0.1:5000",
        "127.0.0.2",
        "[::1]",
        "[::1]:5000",
        "mlsys.example.org",
        "MLSYS.example.org:443",
    ],
)
def test_host__is_served_when_it_is_ours(client: FlaskClient, host: str) -> None:
    assert client.get("/openapi.json", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *[
            "evil.example",
            "evil.example:5000",
            "localhost.evil.example",
            ":5000",
            "10.0.0.1",
            "[::2]",
            "[::1",
            "::1",
            "localhost:abc",
            "localhost:99999",
        ],
        *["user@localhost", "localhost/x", "localhost?x", "example.org", "169.254.169.254"],
        "localhost, evil.example",
        "",
    ],
)
def test_host__is_refused_when_it_is_not(client: FlaskClient, host: str) -> None:
    answer = client.get("/openapi.json", headers={"Host": host})
    assert answer.status_code == 400
    assert answer.mimetype == "application/problem+json"


@pytest.mark.parametrize(
    ("host", "name"),
    [("a:1", "a"), ("A", "a"), ("[::1]:1", "::1"), ("a:b", ""), ("a@b", ""), ("a#b", ""), ("a/b", ""), ("", ""), ("[", ""), ("a]b[", "")],
)
def test_host_name__is_the_name_alone(host: str, name: str) -> None:
    assert host_name(host) == name


CHANGING = [("POST", "/job/train"), ("POST", "/job/predict/"), ("POST", "/model/promote"), ("POST", "/model/demote")]
CHANGING += [("GET", "/model/demote"), ("GET", "/model/demote/"), ("GET", "/migrate?version=x"), ("GET", "/migrate/?version=x")]
FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "null"},
    {"Origin": "http://["},
    {"Origin": ""},
    {"Origin": "localhost:5000"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://localhost:5000", "Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(("method", "path"), CHANGING)
def test_origin__a_foreign_page_changes_nothing(client: FlaskClient, method: str, path: str, headers: dict[str, str]) -> None:
    answer = client.open(path, method=method, headers={"Host": "localhost:5000", **headers})
    assert answer.status_code == 403, answer.text


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "http://localhost:5000"}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin"}]
)
@pytest.mark.parametrize(("method", "path"), CHANGING)
def test_origin__our_own_pages_and_programs_pass(client: FlaskClient, method: str, path: str, headers: dict[str, str]) -> None:
    answer = client.open(path, method=method, headers={"Host": "localhost:5000", **headers})
    assert answer.status_code == 422, answer.text  # past the guard: what is asked for is incomplete


def test_origin__reading_is_left_to_the_browser_s_own_rules(client: FlaskClient) -> None:
    assert client.get("/openapi.json", headers={"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}).status_code == 200


@pytest.mark.parametrize("path", ["/model/demote?model_name=m", "/model/demote/?model_name=m", "/migrate?direction=up", "/migrate/"])
def test_head__never_changes_anything(client: FlaskClient, path: str) -> None:
    answer = client.head(path)
    assert answer.status_code == 405
    assert "HEAD" not in answer.headers["Allow"]


@pytest.mark.parametrize(("path", "status"), [("/openapi.json", 200), ("/nowhere", 404), ("/job/train", 405)])
def test_headers__are_on_every_answer(client: FlaskClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert len(answer.headers["X-Request-ID"]) == 16


@pytest.mark.parametrize("path", ["/runs/%00", "/models/a%00b", "/models/x/versions/%00", "/%00"])
def test_path__with_a_nul_is_refused(client: FlaskClient, path: str) -> None:
    assert front.errors_of(client.get(path)) == {"path": ["The text holds a NUL or half a surrogate pair."]}


# -- other sites ----------------------------------------------------------------------------------------------------------------------

APP = "https://app.example.org"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    system = front.unstarted(tmp_path_factory.mktemp("shared"), **{"server.cors_origins": [APP]})
    return front.app_of(system).test_client()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://app.example.org", f"{APP}.evil.example", f"{APP}:444", "*"])
def test_cors__is_for_nobody_who_is_not_named(client: FlaskClient, shared: FlaskClient, origin: str) -> None:
    asking = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for one in (client, shared):
        for answer in (one.options("/job/train", headers=asking), one.get("/openapi.json", headers={"Origin": origin})):
            assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
        assert one.post("/job/train", json={}, headers={"Origin": origin}).status_code == 403


def test_cors__lets_pages_of_named_origins_call_without_cookies(shared: FlaskClient) -> None:
    asked = shared.options("/job/train", headers={"Origin": APP, "Access-Control-Request-Method": "POST"})
    assert asked.status_code == 204
    assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
    done = shared.post("/job/train", json={}, headers={"Origin": APP, "Sec-Fetch-Site": "cross-site"})
    assert done.status_code == 422
    for answer in (asked, done):
        assert answer.headers["Access-Control-Allow-Origin"] == APP
        assert "Origin" in answer.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["*", "app.example.org", "https://", "https://app.example.org/path", "https://*.example.org"])
def test_cors__takes_origins_only(tmp_path: Path, origin: str) -> None:
    with pytest.raises(errors.ConfigError, match="cors_origins"):
        front.unstarted(tmp_path, **{"server.cors_origins": [origin]})


def test_headers__allow_nothing_that_is_not_needed(client: FlaskClient) -> None:
    for path in ("/openapi.json", "/nowhere"):
        headers = client.get(path).headers
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "form-action 'self'" in headers["Content-Security-Policy"]
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Referrer-Policy"] == "same-origin"
