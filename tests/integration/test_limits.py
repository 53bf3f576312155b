"""Who asks too often, and a database that has no time: 429 and 503, each with Retry-After and in the one shape of all errors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import front
import pytest
import serving
import sqlalchemy as sa
from flask.testing import FlaskClient
from front import World

from mlsys.application import make_app

MODELS = {"quick": front.definition()}
WRONG = {"Authorization": f"Bearer mlsys_{'0' * 12}_{'0' * 52}"}
LIMIT, FAILURES = 40, 5

Started = Callable[..., World]


@pytest.fixture
def started(embedded_server: Any, tmp_path: Path) -> Iterator[Started]:
    url = embedded_server.clone()
    contexts: list[Any] = []

    def start(**overrides: Any) -> World:
        contexts.append(front.started(tmp_path, url, MODELS, **overrides))
        found: World = contexts[-1].__enter__()
        return found

    yield start
    for context in contexts:
        context.__exit__(None, None, None)
    embedded_server.drop(url)


def bearer(world: World) -> dict[str, str]:
    return {"Authorization": f"Bearer {world.system.services.tokens.create('x', 'read', by='me')[1]}"}


def refused(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    return str(answer.json["detail"])


def until_refused(client: FlaskClient, path: str, **more: Any) -> tuple[int, Any]:
    """How many calls were answered otherwise, and the first 429. A minute may have ended in between: then it takes as many again."""
    for count in range(10 * LIMIT):
        answer = client.get(path, **more)
        if answer.status_code == 429:
            return count, answer
    raise AssertionError("never refused")


def test_rate__is_each_token_s_own(started: Started) -> None:
    world = started(**{"server.requests_per_minute": LIMIT})
    client = make_app(world.system.services).test_client()
    first, second = bearer(world), bearer(world)
    count, answer = until_refused(client, "/models", headers=first)
    assert count >= LIMIT
    assert "server.requests_per_minute" in refused(answer, 429)
    assert client.get("/models", headers=second).status_code == 200


def test_rate__of_strangers_is_their_address_s(started: Started) -> None:
    world = started(**{"server.requests_per_minute": LIMIT})
    client = make_app(world.system.services).test_client()
    bearer(world)
    there = {"environ_base": {"REMOTE_ADDR": "192.0.2.1"}}
    for path in ("/login", "/health/", "/runs"):
        refused(until_refused(client, path, **there)[1], 429)
    assert client.get("/login", environ_base={"REMOTE_ADDR": "192.0.2.2"}).status_code == 200
    assert all(client.get("/health/").status_code == 200 for _ in range(LIMIT + 1)), "probes of this machine"


def test_rate__does_not_count_callers_who_need_no_token(started: Started) -> None:
    world = started(**{"server.requests_per_minute": 1})
    assert all(world.client.get("/models").status_code == 200 for _ in range(10))


def test_rate__zero_is_any_number(started: Started) -> None:
    world = started(**{"server.requests_per_minute": 0, "auth.failed_logins_per_minute": 0})
    headers = bearer(world)
    assert all(world.client.get("/models", headers=headers).status_code == 200 for _ in range(30))
    assert all(world.client.get("/models", headers=WRONG).status_code == 401 for _ in range(100))


def test_tokens__that_are_wrong_count_as_their_address_s_and_harm_nobody_who_is_known_there(started: Started) -> None:
    world = started(**{"server.requests_per_minute": LIMIT})
    known, late = bearer(world), bearer(world)
    assert world.client.get("/models", headers=known).status_code == 200
    refused(until_refused(world.client, "/models", headers=WRONG)[1], 429)
    assert world.client.get("/models", headers=known).status_code == 200
    refused(world.client.get("/models", headers=late), 429)  # it could be a guess
    elsewhere: Any = {"environ_base": {"REMOTE_ADDR": "192.0.2.1"}}
    assert world.client.get("/models", headers=late, **elsewhere).status_code == 200


def test_login__that_fails_too_often_has_to_wait(started: Started) -> None:
    world = started(**{"auth.failed_logins_per_minute": FAILURES})
    client = make_app(world.system.services).test_client()
    token = bearer(world)["Authorization"].removeprefix("Bearer ")
    for _ in range(FAILURES):
        assert client.post("/login", data={"token": token}).status_code == 303, "what succeeds counts for nothing"
    answers = [client.post("/login", json={"token": "wrong"}) for _ in range(3 * FAILURES)]
    assert {answer.status_code for answer in answers} == {401, 429}
    assert "auth.failed_logins_per_minute" in refused(client.post("/login", data={"token": token}), 429)
    assert client.post("/login", data={"token": token}, environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 303


@contextmanager
def locked(world: World, table: str) -> Iterator[None]:
    """Nobody reads the table meanwhile."""
    engine = sa.create_engine(world.system.config.database.url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        yield


def test_statement__that_takes_too_long_is_503(started: Started) -> None:
    world = started(**{"database.statement_timeout_seconds": 0.5})
    with locked(world, "models"):
        detail = refused(world.client.get("/models"), 503)
    assert "SELECT" not in detail
    assert "canceling" not in detail
    assert world.client.get("/models").status_code == 200


def test_tokens__that_cannot_be_looked_up_let_nobody_in(started: Started) -> None:
    world = started(**{"database.statement_timeout_seconds": 0.5})
    headers = bearer(world)
    assert world.client.get("/models", headers=headers).status_code == 200
    with locked(world, "tokens"):
        serving.until(lambda: world.client.get("/models", headers=headers).status_code == 503)
        assert world.client.get("/models").status_code in (401, 503)
        refused(world.client.get("/models", headers=WRONG), 503)
        assert world.client.get("/health/").status_code == 200
    assert world.client.get("/models", headers=headers).status_code == 200


def test_connections__all_in_use_are_503(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    world = started()
    pool: Any = world.system.engine.pool
    monkeypatch.setattr(pool, "_timeout", 0.2)
    held = []
    try:
        with suppress(sa.exc.TimeoutError):
            while True:
                held.append(world.system.engine.connect())
        assert held
        assert "in use" in refused(world.client.get("/models"), 503)
    finally:
        for connection in held:
            connection.close()
    assert world.client.get("/models").status_code == 200
