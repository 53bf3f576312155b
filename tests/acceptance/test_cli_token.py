"""``mlsys token`` in a terminal, beside a server and without one; and what a server that others can reach asks for."""

import json
from pathlib import Path
from typing import Any

import pytest
import serving
import terminal
from terminal import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return terminal.place(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A home for what changes nothing that others look at."""
    found = terminal.place(tmp_path_factory.mktemp("shared"))
    terminal.mlsys(found, "db", "upgrade")
    return found


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_token__is_made_before_the_first_start_shown_once_and_taken_back(place: Place) -> None:
    made = terminal.answered(place, "token", "create", "ci", "--scope", "run", "--expires-in", "P90D")
    assert str(place["home"]) in made["made_in"]
    assert made["token"].startswith(f"mlsys_{made['id']}_")
    assert (made["name"], made["scope"], made["state"]) == ("ci", "run", "valid")
    text = terminal.mlsys(place, "token", "create")
    assert "scope read, valid until it is revoked" in text
    listed = terminal.answered(place, "token", "list")["items"]
    assert [each["name"] for each in listed] == [listed[0]["created_by"].split("@")[0], "ci"]
    assert made["token"].split("_")[2] not in json.dumps(listed)
    revoked = terminal.answered(place, "token", "revoke", made["token"])
    assert (revoked["id"], revoked["state"]) == (made["id"], "revoked")
    assert "ci" in terminal.mlsys(place, "token", "list")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("token", "create", "x", "--scope", "root"), "root"),
        (("token", "create", "x", "--expires-in", "soon"), "P90D"),
        (("token", "create", "x", "--expires-in=-P1D"), "past"),
        (("token", "create", "x" * 65), "printable"),
        (("token", "create", "a\nb"), "printable"),
    ],
)
def test_token__that_cannot_be_is_refused(shared: Place, words: tuple[str, ...], told: str) -> None:
    assert told in terminal.mlsys(shared, *words, code=2)


def test_token__unknown_cannot_be_revoked(shared: Place) -> None:
    assert "mlsys token list" in terminal.mlsys(shared, "token", "revoke", "nothing", code=2)


def test_server__on_every_address_needs_a_token_and_serves_those_who_have_one(place: Place) -> None:
    refused = serving.cli("serve", "--host", "0.0.0.0", "--port", "0", **place)
    assert refused.returncode == 2
    assert "mlsys token create" in refused.stderr
    token = terminal.answered(place, "token", "create", "me", "--scope", "promote")["token"]
    with serving.serve(place["home"], config=place["config"], data=place["data"], host="0.0.0.0") as served:
        served.url = served.url.replace("0.0.0.0", "127.0.0.1")
        assert served.call("GET", "/runs").status == 401
        assert served.call("GET", "/health/").status == 200
        assert served.call("GET", "/runs", **bearer(token)).status == 200
        assert served.call("GET", "/migrate/", **bearer(token)).status == 403
        _commands_send_it(place, token)
        _another_is_known_at_once_and_taken_back(place, served)
        terminal.answered(place, "token", "revoke", token)
        serving.until(lambda: served.call("GET", "/runs", **bearer(token)).status == 401, 5)
        assert token.split("_")[2] not in served.log.read_text()
    gone = serving.cli("serve", "--host", "0.0.0.0", "--port", "0", **place)
    assert (gone.returncode, "mlsys token create" in gone.stderr) == (2, True), "none is left that lets anybody in"


def _commands_send_it(place: Place, token: str) -> None:
    words = ("train", "quick", "--start", "2020-01-01", "--end", "2020-03-15", "--json")
    refused = serving.cli(*words, **place)
    assert (refused.returncode, "MLSYS_TOKEN" in refused.stderr) == (2, True)
    run: Any = json.loads(serving.cli(*words, **place, MLSYS_TOKEN=token).stdout)
    assert run["trigger"] == {"type": "cli", "actor": f"me ({token.split('_')[1]})"}


def _another_is_known_at_once_and_taken_back(place: Place, served: serving.Served) -> None:
    other = terminal.answered(place, "token", "create", "other", "--scope", "read")["token"]
    assert served.call("GET", "/runs", **bearer(other)).status == 200
    terminal.answered(place, "token", "revoke", other)


def test_tokens__are_of_no_matter_where_they_are_not_needed(shared: Place) -> None:
    terminal.answered(shared, "token", "create", "me", "--scope", "admin")
    found = serving.cli("serve", "--host", "0.0.0.0", "--port", "0", **shared, MLSYS_AUTH__REQUIRED="never")
    assert found.returncode == 2
    assert "auth.required" in found.stderr
    assert terminal.answered(shared, "runs")["items"] == [], "a command without a server"


def test_proxy__that_is_trusted_says_who_calls_and_how(shared: Place) -> None:
    """The calls of this test come from 127.0.0.1, where the proxy is said to be."""
    token = terminal.answered(shared, "token", "create", "me")["token"]
    told = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "mlsys.example.org"}
    more = {"MLSYS_SERVER__ALLOWED_HOSTS": "mlsys.example.org", "MLSYS_AUTH__REQUIRED": "never"}
    folders = {"config": shared["config"], "data": shared["data"]}
    with serving.serve(shared["home"], **folders, MLSYS_SERVER__TRUSTED_PROXY="127.0.0.1", **more) as served:
        assert served.call("GET", "/runs").status == 200
        assert served.call("GET", "/runs", **told).status == 401, "a caller from elsewhere"
        assert served.call("GET", "/runs", **told | {"X-Forwarded-Host": "evil.example"}).status == 400
        answer = served.call("POST", "/login", {"token": token}, **told)
        assert answer.headers["Set-Cookie"].startswith("__Host-mlsys_session=")
    with serving.serve(shared["home"], **folders, **more) as served:
        assert served.call("GET", "/runs", **told).status == 401, "nor is who came by a proxy at home"
        assert served.call("POST", "/login", {"token": token}, **told).headers["Set-Cookie"].startswith("mlsys_session=")
