"""Tokens through the front: who is let in to what, for every route and method; sessions of browsers; what is recorded of a caller."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import front
import pytest
import serving
from flask import Flask
from flask.testing import FlaskClient
from front import World

from mlsys.access import credentials
from mlsys.api import callers, events, scopes
from mlsys.application import make_app
from mlsys.clock import SystemClock
from mlsys.registry.tokens import SCOPES, Scope

NEVER_HERE = "nothing-of-that-name"
MODELS = {"quick": front.definition()}


class MovingClock(SystemClock):
    """The real one, moved on by hand."""

    ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = embedded_server.clone()
    with front.started(tmp_path_factory.mktemp("access"), url, MODELS, **{"auth.failed_logins_per_minute": 0}) as found:
        yield found
    embedded_server.drop(url)


@pytest.fixture(scope="module")
def app(world: World) -> Flask:
    return make_app(world.system.services)


@pytest.fixture(scope="module")
def tokens(world: World) -> dict[str, str]:
    """One of each scope."""
    return {scope: made(world, scope) for scope in SCOPES}


@pytest.fixture
def client(app: Flask, tokens: dict[str, str]) -> FlaskClient:
    """Of a browser: it keeps cookies. Tokens exist."""
    return app.test_client()


def made(world: World, scope: Scope, **more: Any) -> str:
    return world.system.services.tokens.create(f"of {scope}", scope, by="me", **more)[1]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def log_in(client: FlaskClient, token: str, **form: str) -> Any:
    answer = client.post("/login", data={"token": token, **form})
    assert answer.status_code == 303, answer.text
    return answer


def calls(app: Flask) -> list[tuple[str, str, str]]:
    """(method, rule, an address of it), all there are."""
    return [
        (method, rule.rule, re.sub(r"<[^>]+>", NEVER_HERE, rule.rule))
        for rule in app.url_map.iter_rules()
        for method in sorted(rule.methods or ())
    ]


def test_every_call__without_a_token_is_refused_unless_it_is_public(app: Flask, client: FlaskClient) -> None:
    walked = calls(app)
    assert len(walked) > 90
    for method, rule, address in walked:
        answer = client.open(address, method=method)
        if method == "HEAD" and address.rstrip("/") in ("/model/demote", "/migrate"):
            assert answer.status_code == 405
        elif scopes.need_of(rule, "GET" if method == "HEAD" else method) == "public":
            assert answer.status_code not in (401, 403) or rule == "/login", (method, rule, answer.text)
        else:
            assert answer.status_code == 401, (method, rule, answer.text)
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="mlsys"'
            assert method == "HEAD" or answer.mimetype == "application/problem+json"


@pytest.mark.parametrize("scope", SCOPES)
def test_every_call__is_open_to_its_scope_and_above_and_to_no_other(
    app: Flask, client: FlaskClient, tokens: dict[str, str], scope: Scope
) -> None:
    for method, rule, address in calls(app):
        need = scopes.need_of(rule, "GET" if method == "HEAD" else method)
        if need == "public" or "/stream" in rule or (need == "admin" and "migrate" in rule and scope == "admin"):
            continue
        answer = client.open(address, method=method, headers=bearer(tokens[scope]))
        if method == "HEAD" and address.rstrip("/") in ("/model/demote", "/migrate"):
            assert answer.status_code == 405
        elif SCOPES.index(scope) < SCOPES.index(need):
            assert answer.status_code == 403, (method, rule, answer.text)
            assert f'error="insufficient_scope", scope="{need}"' in answer.headers["WWW-Authenticate"]
            assert f"scope {need}" in answer.text
        else:
            assert answer.status_code not in (401, 403), (method, rule, answer.text)


def test_migrate__is_for_admins(client: FlaskClient, tokens: dict[str, str]) -> None:
    assert client.get("/migrate/", headers=bearer(tokens["admin"])).status_code == 200
    assert client.get("/migrate/", headers=bearer(tokens["promote"])).status_code == 403


def test_addresses_that_are_none__are_told_to_nobody_without_a_token(client: FlaskClient, tokens: dict[str, str]) -> None:
    assert client.get("/no/such").status_code == client.put("/runs").status_code == 401
    assert client.get("/no/such", headers=bearer(tokens["read"])).status_code == 404
    assert client.put("/runs", headers=bearer(tokens["read"])).status_code == 405


def test_route__without_a_scope_keeps_the_application_from_starting(world: World) -> None:
    app = make_app(world.system.services)
    app.add_url_rule("/forgotten", view_func=lambda: "x", methods=["GET", "DELETE"])
    with pytest.raises(RuntimeError, match="DELETE /forgotten, GET /forgotten"):
        scopes.check(app)


def test_table__names_no_route_that_is_gone(app: Flask) -> None:
    there = {f"{method} {rule}" for method, rule, _ in calls(app)}
    assert {call for calls in scopes.NEEDS.values() for call in calls} - there <= {"GET /metrics"}


FORGED = [
    "",
    "x",
    "mlsys_",
    "mlsys__",
    f"mlsys_{'0' * 12}_{'0' * 52}",
    f"mlsys_{'0' * 12}_{'0' * 51}",
    f"mlsys_{'0' * 12}_{'0' * 53}",
    f"mlsys_{'é' * 12}_{'0' * 52}",
    "mlsys_' OR 1=1 --_x",
    "x" * 100_000,
]


@pytest.mark.parametrize("text", FORGED)
def test_token__that_is_none_is_refused(client: FlaskClient, text: str) -> None:
    answer = client.get("/runs", headers={"Authorization": f"Bearer {text}".encode().decode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="mlsys", error="invalid_token"'
    assert not text.strip() or text not in answer.text


def test_token__with_one_character_changed_is_refused(client: FlaskClient, tokens: dict[str, str]) -> None:
    token = tokens["admin"]
    for place in (*range(6, 18), *range(19, len(token))):
        changed = token[:place] + ("1" if token[place] != "1" else "2") + token[place + 1 :]
        assert client.get("/runs", headers=bearer(changed)).status_code == 401
    assert client.get("/runs", headers=bearer(token)).status_code == 200
    assert client.get("/runs", headers=bearer(token.upper())).status_code == 401


def test_token__of_another_row_does_not_fit(client: FlaskClient, world: World, tokens: dict[str, str]) -> None:
    read, admin = tokens["read"].split("_"), tokens["admin"].split("_")
    assert client.get("/runs", headers=bearer(f"mlsys_{admin[1]}_{read[2]}")).status_code == 401
    session = session_of(client, tokens["admin"])
    assert client.get("/runs", headers=bearer(f"mlsys_{session}")).status_code == 401


def session_of(client: FlaskClient, token: str) -> str:
    log_in(client, token)
    cookie = client.get_cookie(callers.COOKIES[1])
    assert cookie is not None
    return str(cookie.value)


def test_token__revoked_is_refused_at_once_where_it_was_not_seen_and_soon_where_it_was(client: FlaskClient, world: World) -> None:
    token = made(world, "read")
    assert client.get("/runs", headers=bearer(token)).status_code == 200
    world.system.services.tokens.revoke(token.split("_")[1], by="me")
    world.system.services.tokens.revoke(token.split("_")[1], by="another")  # changes nothing
    assert serving.until(lambda: client.get("/runs", headers=bearer(token)).status_code == 401)
    answer = client.get("/runs", headers=bearer(token))
    assert "revoked" in answer.text
    (found,) = [each for each in world.system.services.tokens.list() if each.id == token.split("_")[1]]
    assert (found.revoked_by, found.created_by) == ("me", "me")


@pytest.mark.parametrize("by_session", [False, True])
def test_stream__ends_with_what_let_it_in(client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch, by_session: bool) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
    token = made(world, "read")
    if by_session:
        log_in(client, token)
    with client.get("/events/stream", headers={} if by_session else bearer(token), buffered=False) as answer:
        parts = answer.iter_encoded()
        assert [next(parts)[:5] for _ in range(3)] == [b"retry", b": \nid", b": \nid"]
        world.system.services.tokens.revoke(token.split("_")[1], by="me")
        assert len(list(islice(parts, 400))) < 400, "it went on for 20 s"


def test_token__expired_is_refused_and_says_so(client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    token = made(world, "read", expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert client.get("/runs", headers=bearer(token)).status_code == 200
    session = session_of(client, token)
    clock = MovingClock()
    clock.ahead = timedelta(hours=1)
    monkeypatch.setattr(world.system.services.callers._gate, "_clock", clock)
    answer = client.get("/runs", headers=bearer(token))
    assert (answer.status_code, "expired" in answer.text) == (401, True)
    client.set_cookie(callers.COOKIES[1], session)
    assert client.get("/runs").status_code == 401


def test_last_use__is_noted_without_a_write_a_request(client: FlaskClient, world: World) -> None:
    token = made(world, "read")

    def used() -> Any:
        (found,) = [each for each in world.system.services.tokens.list() if each.id == token.split("_")[1]]
        return found.last_used_at

    assert used() is None
    client.get("/runs", headers=bearer(f"{token[:-1]}{'1' if token[-1] != '1' else '2'}"))
    assert used() is None, "a wrong secret is no use of the token"
    for _ in range(20):
        assert client.get("/runs", headers=bearer(token)).status_code == 200
    first = used()
    assert first is not None
    assert serving.until(lambda: client.get("/runs", headers=bearer(token)).status_code == 200 and used() == first)


def test_nothing_stored__holds_a_secret(world: World, client: FlaskClient, tokens: dict[str, str]) -> None:
    session = session_of(client, tokens["run"])
    with world.system.engine.connect() as connection:
        rows = [str(tuple(row)) for name in ("tokens", "sessions") for row in connection.exec_driver_sql(f"SELECT * FROM {name}")]
    secrets = [text.split("_")[-1] for text in (*tokens.values(), session)]
    assert not any(secret in row for secret in secrets for row in rows)
    assert all(secret not in repr(credentials.new("token")) for secret in secrets)
    shown = credentials.new("token")
    assert shown.secret not in repr(shown)


# -- what is recorded -----------------------------------------------------------------------------------------------------------------


def test_actor__is_whose_token_it_was(client: FlaskClient, world: World, tokens: dict[str, str]) -> None:
    who = f"of promote ({tokens['promote'].split('_')[1]})"
    headers = bearer(tokens["promote"]) | front.WAIT
    run: Any = client.post("/job/train", json=front.TRAIN | {"promote": "never"}, headers=headers).json
    assert run["status"] == "succeeded"
    assert run["trigger"] == {"type": "api", "actor": who}
    version = run["result"]["model_version_id"]
    promoted: Any = client.post("/model/promote", json={"model_name": "quick", "model_version_id": version}, headers=headers).json
    assert promoted["actor"] == who
    again: Any = client.post(f"/runs/{run['id']}/replay", headers=headers).json
    assert again["trigger"] == {"type": "replay", "actor": who}


def test_rows__that_say_when_they_became_known_need_admin(client: FlaskClient, tokens: dict[str, str]) -> None:
    made = client.post("/datasets", json={"name": "d", "timestamp": "time"}, headers=bearer(tokens["run"]))
    assert made.status_code == 201, made.text
    row = {"time": "2020-01-01T00:00:00Z", "x": 1.0}
    old = row | {"created_at": "2020-01-02T00:00:00Z"}
    assert client.post("/datasets/d/rows", json=[old], headers=bearer(tokens["promote"])).status_code == 403
    assert client.post("/datasets/d/rows", json=[row], headers=bearer(tokens["run"])).status_code == 201
    assert client.post("/datasets/d/rows", json=[old], headers=bearer(tokens["admin"])).status_code == 201


def test_idempotency_keys__are_the_caller_s_own(client: FlaskClient, world: World, tokens: dict[str, str]) -> None:
    key = {"Idempotency-Key": "one"}
    other = made(world, "run")
    first: Any = client.post("/job/train", json=front.TRAIN, headers=bearer(tokens["run"]) | key).json
    same: Any = client.post("/job/train", json=front.TRAIN, headers=bearer(tokens["run"]) | key).json
    else_: Any = client.post("/job/train", json=front.TRAIN, headers=bearer(other) | key).json
    assert first["id"] == same["id"] != else_["id"]
    assert client.post("/job/train", json=front.TRAIN, headers=bearer(tokens["read"]) | key).status_code == 403
    assert client.post("/job/train", json=front.TRAIN, headers=key).status_code == 401


def test_health__tells_strangers_only_whether_it_is_well(client: FlaskClient, tokens: dict[str, str]) -> None:
    told: Any = client.get("/health/").json
    assert told["status"] == "ok"
    assert all(set(check) == {"status"} for check in told["checks"].values())
    assert "version" not in told
    whole: Any = client.get("/health/", headers=bearer(tokens["read"])).json
    assert whole["version"]
    assert "milliseconds" in whole["checks"]["database"]


# -- browsers -------------------------------------------------------------------------------------------------------------------------

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
OURS = {"Sec-Fetch-Site": "same-origin"}


def test_browser__gets_the_form_where_it_asked_and_then_what_it_asked_for(client: FlaskClient, tokens: dict[str, str]) -> None:
    asked = client.get("/docs", headers=HTML)
    assert (asked.status_code, asked.mimetype) == (401, "text/html")
    assert 'name="next" value="/docs"' in asked.text
    assert "<script" not in asked.text
    answer = log_in(client, tokens["read"], next="/docs")
    assert answer.headers["Location"] == "/docs"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie
    assert client.get("/docs", headers=HTML).status_code == 200
    page = client.get("/", headers=HTML)
    assert page.status_code == 200
    assert f"of read ({tokens['read'].split('_')[1]})" in page.text
    assert client.post("/logout", data={}, headers=OURS).status_code in (204, 303)
    assert client.get("/docs", headers=HTML).status_code == 401


def test_login__behind_tls_gives_a_cookie_that_only_tls_carries(app: Flask, tokens: dict[str, str]) -> None:
    client = app.test_client()
    answer = client.post("/login", json={"token": tokens["run"]}, base_url="https://localhost")
    assert answer.status_code == 200
    assert answer.json == {"scope": "run", "actor": answer.json["actor"], "expires_at": answer.json["expires_at"]}  # type: ignore[index]
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-mlsys_session=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert client.get("/runs", base_url="https://localhost").status_code == 200


@pytest.mark.parametrize("body", [{"data": {"token": "mlsys_x"}}, {"json": {"token": "mlsys_x"}}])
def test_login__with_no_valid_token_opens_nothing(client: FlaskClient, body: Any) -> None:
    answer = client.post("/login", **body)
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
    assert "mlsys_x" not in answer.text


@pytest.mark.parametrize("body", [{"json": ["x"]}, {"json": {"token": 1}}, {"json": {"token": "x", "more": 1}}, {"data": b"x"}])
def test_login__that_shows_no_token_is_told_how(client: FlaskClient, body: Any) -> None:
    assert list(front.errors_of(client.post("/login", **body))) == ["token"]


@pytest.mark.parametrize(
    "address",
    [
        *["//evil.example", "https://evil.example/", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)", "evil", "/x\r\ny: z"],
        *["/model/demote?model_name=quick", "/migrate/?direction=down", "/login", "//", "http://[", ""],
    ],
)
def test_login__leads_to_pages_of_ours_that_only_read(client: FlaskClient, tokens: dict[str, str], address: str) -> None:
    assert log_in(client, tokens["read"], next=address).headers["Location"] == "/"


def test_form__shows_what_it_is_given_as_text(client: FlaskClient) -> None:
    page = client.get("/runs/%22%3E%3Cscript%3Ealert(1)%3C/script%3E", headers=HTML)
    assert page.status_code == 401
    assert "<script" not in page.text


def test_name_of_a_token__is_shown_as_text(client: FlaskClient, world: World) -> None:
    log_in(client, world.system.services.tokens.create("<script>alert(1)</script>", "read", by="me")[1])
    page = client.get("/", headers=HTML)
    assert page.status_code == 200
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script" not in page.text


CHANGES = [("POST", "/job/train"), ("POST", "/model/demote?model_name=x"), ("GET", "/model/demote?model_name=x"), ("GET", "/migrate/")]


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_session__changes_state_from_pages_of_ours_only(client: FlaskClient, tokens: dict[str, str], method: str, path: str) -> None:
    log_in(client, tokens["admin"])
    body = {"json": {}} if method == "POST" else {}
    for headers in (
        {},
        {"Sec-Fetch-Site": "none"},  # a link in a mail
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
    ):
        assert client.open(path, method=method, headers=headers, **body).status_code == 403, headers
    for headers in (OURS, {"Origin": "http://localhost"}, {"Origin": "http://localhost", **OURS}):
        assert client.open(path, method=method, headers=headers, **body).status_code in (200, 422), headers
    assert client.open(path, method=method, headers=bearer(tokens["admin"]), **body).status_code in (200, 422), "programs need no origin"


def test_session__ends_with_its_token(client: FlaskClient, world: World) -> None:
    token = made(world, "read")
    log_in(client, token)
    assert client.get("/runs").status_code == 200
    world.system.services.tokens.revoke(token.split("_")[1], by="me")
    assert serving.until(lambda: client.get("/runs").status_code == 401)


def test_session__ends_by_itself(client: FlaskClient, world: World, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of(client, tokens["read"])
    clock = MovingClock()
    monkeypatch.setattr(world.system.services.callers._gate, "_clock", clock)
    clock.ahead = timedelta(hours=11)
    assert client.get("/runs").status_code == 200
    clock.ahead = timedelta(hours=12)
    client.set_cookie(callers.COOKIES[1], session)  # a client that keeps it for longer than it was told to
    assert client.get("/runs").status_code == 401


def test_session__is_gone_at_once_after_a_logout(client: FlaskClient, tokens: dict[str, str]) -> None:
    session = session_of(client, tokens["read"])
    assert client.get("/runs").status_code == 200
    assert client.post("/logout").status_code == 204
    client.set_cookie(callers.COOKIES[1], session)
    assert client.get("/runs").status_code == 401


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_login__from_another_site_s_page_is_refused(client: FlaskClient, tokens: dict[str, str], headers: dict[str, str]) -> None:
    assert client.post("/login", data={"token": tokens["read"]}, headers=headers).status_code == 403


def test_header__wins_over_a_session(client: FlaskClient, tokens: dict[str, str]) -> None:
    log_in(client, tokens["admin"])
    assert client.post("/job/train", json={}, headers=bearer(tokens["read"])).status_code == 403
    assert client.get("/runs", headers=bearer("x")).status_code == 401


# -- without tokens -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = embedded_server.clone()
    with front.started(tmp_path_factory.mktemp("fresh"), url, MODELS) as found:
        yield found
    embedded_server.drop(url)


def test_without_tokens__callers_on_this_machine_hold_admin_and_no_others(fresh: World) -> None:
    client = fresh.client
    assert client.get("/migrate/").status_code == 200
    assert client.get("/runs", headers={"Authorization": "Basic eDp5"}).status_code == 200, "a proxy's own"
    for remote in ("192.0.2.1", "10.0.0.1", "::2", "", "nonsense"):
        assert client.get("/runs", environ_base={"REMOTE_ADDR": remote}).status_code == 401, remote
    assert client.get("/runs", environ_base={"REMOTE_ADDR": "::1"}).status_code == 200
    for told in ({"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=192.0.2.1"}, {"X-Real-IP": "192.0.2.1"}, {"Via": "1.1 nginx"}):
        assert client.get("/runs", headers=told).status_code == 401, "a proxy on this machine speaks for others"
    assert client.get("/runs", headers=bearer(FORGED[4])).status_code == 401, "a token that is shown must be valid"


def test_first_token__closes_the_door_and_its_end_does_not_open_it(fresh: World) -> None:
    assert fresh.client.get("/runs").status_code == 200
    token = made(fresh, "admin")
    assert serving.until(lambda: fresh.client.get("/runs").status_code == 401)
    assert fresh.client.get("/runs", headers=bearer(token)).status_code == 200
    fresh.system.services.tokens.revoke(token.split("_")[1], by="me")
    assert serving.until(lambda: fresh.client.get("/runs", headers=bearer(token)).status_code == 401)
    assert fresh.client.get("/runs").status_code == 401
    assert not fresh.system.services.tokens.usable()


def test_below_head__the_one_who_may_migrate_still_may(fresh: World) -> None:
    token = made(fresh, "admin")
    assert serving.until(lambda: fresh.client.get("/runs").status_code == 401)
    assert fresh.client.get("/migrate/?direction=down&version=013").status_code == 401
    answer = fresh.client.get("/migrate/?direction=down&version=013", headers=bearer(token))
    assert answer.status_code == 409
    assert "tokens" in answer.text
