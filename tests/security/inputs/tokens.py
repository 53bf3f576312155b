"""Who calls: no token, forged ones, those of others, and more than a token allows; sessions of browsers."""

from collections.abc import Callable
from typing import Any

import front

from security.table import Attack, ask, get, post, rows, send
from security.target import Answer, Target

PROMOTE = {"model_name": "quick", "model_version_id": "$FIRST"}
ELSEWHERE = "https://evil.example"
DEMOTE = {"model_name": "quick"}
HOOK = {"url": "http://127.0.0.1:1/", "events": ["*"], "enabled": False}
OLD = {"time": "2020-01-01T00:00:00Z", "power": 1, "note": "a", "created_at": "2020-01-02T00:00:00Z"}
FORM = "application/x-www-form-urlencoded"
LIKE = "mlsys_" + "0" * 12 + "_" + "0" * 52


def shown(authorization: str | None) -> Attack:
    """A read with this in the Authorization header."""
    return get("/runs", Authorization=authorization)


def forged(change: Callable[[str, str], str]) -> Attack:
    """A read with a token made of the id and the secret of an admin's."""
    return lambda target: target.ask("GET", "/runs", Authorization=f"Bearer {change(*target.known['ADMIN'].split('_')[1:])}")


def by(scope: str, method: str, path: str, body: Any = None, **headers: str) -> Attack:
    """What a token of that scope does not allow."""
    return ask(method, path, body, Authorization=f"Bearer ${scope.upper()}", **headers)


def stored(target: Target) -> Answer | str:
    """What is stored of a token, used as one: somebody has read the database."""
    id = target.known["ADMIN"].split("_")[1]
    digest = target.scalar(f"SELECT digest FROM tokens WHERE id = '{id}'")
    return target.ask("GET", "/runs", Authorization=f"Bearer mlsys_{id}_{digest[:52]}")


def browser(then: Callable[[Target, dict[str, str | None]], Answer | str]) -> Attack:
    """A browser that has logged in with an admin's token; ``then`` gets the headers that it sends by itself."""

    def attack(target: Target) -> Answer | str:
        answer = target.ask("POST", "/login", {"token": target.known["ADMIN"]}, Authorization=None)
        assert answer.status == 200, answer.text
        cookie = answer.headers["set-cookie"]
        assert all(word in cookie for word in ("HttpOnly", "SameSite=")), cookie
        return then(target, {"Authorization": None, "Cookie": cookie.partition(";")[0]})

    return attack


def guessed(target: Target) -> Answer | str:
    """One login after another with tokens made up, until they are slowed down."""
    for number in range(40):
        answer = target.ask("POST", "/login", {"token": f"mlsys_{number:012d}_{'0' * 52}"}, Authorization=None)
        if answer.status != 401:
            break
    return answer if "retry-after" in answer.headers else f"{answer.status}, and nobody says when to come back"


def page(attack: Attack) -> Attack:
    """A form is answered with a page, also when it is refused."""

    def attacked(target: Target) -> Answer | str:
        answer = attack(target)
        assert not isinstance(answer, str)
        return f"{answer.status}, a page" if answer.headers["content-type"].startswith("text/html") else answer

    return attacked


def logged_out(target: Target, own: dict[str, str | None]) -> Answer:
    """A session that was ended, used again by who has copied it."""
    ended = target.ask("POST", "/logout", Origin=f"http://127.0.0.1:{target.port}", **own)
    assert ended.status == 204, ended.text
    return target.ask("GET", "/runs", **own)


def onward(address: str) -> Attack:
    """A login that would lead to another place; the outcome is where it leads."""

    def attack(target: Target) -> Answer | str:
        form = f"token={target.known['ADMIN']}&next={address}".encode()
        answer = target.send("POST", "/login", form, {"Content-Type": FORM, "Authorization": None})
        return f"{answer.status} {answer.headers.get('location')}"

    return attack


ROWS = [
    *rows(
        "tokens",
        ("none", shown(None), "401"),
        ("none, as an empty header", shown(""), "401"),
        ("none, for what changes state", post("/model/promote", PROMOTE, Authorization=None), "401"),
        ("none, for an address that is not", get("/nothing", Authorization=None), "401"),
        ("none, for the schema", get("/migrate/?version=000&direction=down&force=true", Authorization=None), "401"),
        ("none, as a proxy's caller on this machine", get("/runs", Authorization=None, X_Forwarded_For="127.0.0.1"), "401"),
        ("none, as our own command line", get("/runs", Authorization=None, User_Agent="mlsys-cli/1.0"), "401"),
        ("none, as a call within the process", get("/runs", Authorization=None, Mlsys_In_Process="1"), "401"),
        ("only the scheme", shown("Bearer"), "401"),
        ("zeros", shown(f"Bearer {LIKE}"), "401"),
        ("100,000 characters", shown("Bearer mlsys_" + "a" * 100_000), "401"),
        ("not of our letters", shown("Bearer mlsys_\u0430dmin_secret"), "401"),
        ("quote for SQL", shown("Bearer mlsys_' OR '1'='1_" + "0" * 52), "401"),
        ("no algorithm (a JWT)", shown("Bearer eyJhbGciOiJub25lIn0.eyJzY29wZSI6ImFkbWluIn0."), "401"),
        ("password of a scheme that is not ours", shown("Basic YWRtaW46YWRtaW4="), "401"),
        ("id with another secret", forged(lambda name, secret: f"mlsys_{name}_{'0' * 52}"), "401"),
        ("one letter changed", forged(lambda name, secret: f"mlsys_{name}_{secret[:-1]}{'0' if secret[-1] != '0' else '1'}"), "401"),
        ("one letter less", forged(lambda name, secret: f"mlsys_{name}_{secret[:-1]}"), "401"),
        ("one letter more", forged(lambda name, secret: f"mlsys_{name}_{secret}0"), "401"),
        ("upper case", forged(lambda name, secret: f"mlsys_{name.upper()}_{secret.upper()}"), "401"),
        ("secret under another id", forged(lambda name, secret: f"mlsys_{'0' * 12}_{secret}"), "401"),
        ("as a session's", forged(lambda name, secret: f"{name}_{secret}"), "401"),
        ("two at once", forged(lambda name, secret: f"{LIKE}, Bearer mlsys_{name}_{secret}"), "401"),
        ("what is stored of it", stored, "401"),
        ("in the query", get("/runs?access_token=$ADMIN", Authorization=None), "401"),
        ("in a cookie", get("/runs", Authorization=None, Cookie="mlsys_session=$ADMIN"), "401"),
        ("revoked", shown("Bearer $REVOKED"), "401"),
        ("expired", shown("Bearer $EXPIRED"), "401"),
    ),
    *rows(
        "scopes",
        ("read: a training", by("read", "POST", "/job/train", front.TRAIN), "403"),
        ("read: a demotion by GET", by("read", "GET", "/model/demote?model_name=quick"), "403"),
        ("read: with a slash at the end", by("read", "POST", "/job/train/", front.TRAIN), "403"),
        ("read: encoded", by("read", "POST", "/job/%74rain", front.TRAIN), "403"),
        ("read: with two slashes", by("read", "POST", "/job//train", front.TRAIN), "308"),
        ("read: method in a header", by("read", "GET", "/schedules/yearly", X_HTTP_Method_Override="DELETE"), "200"),
        ("read: a schedule", by("read", "DELETE", "/schedules/yearly"), "403"),
        ("read: rows", by("read", "POST", "/datasets/site/rows", []), "403"),
        ("run: a promotion", by("run", "POST", "/model/promote", PROMOTE), "403"),
        ("run: rows that rewrite the past", by("run", "POST", "/datasets/site/rows", [OLD]), "403"),
        ("run: an address outside", by("run", "POST", "/webhooks", HOOK), "403"),
        ("promote: an address outside", by("promote", "PATCH", "/webhooks/$HOOK", {"description": "x"}), "403"),
        ("promote: the secret of a webhook", by("promote", "POST", "/webhooks/$HOOK/rotate"), "403"),
        ("promote: the schema", by("promote", "GET", "/migrate/?version=000&direction=down&force=true"), "403"),
    ),
    *rows(
        "sessions",
        ("made up", get("/runs", Authorization=None, Cookie="mlsys_session=admin"), "401"),
        ("made up, of the right shape", get("/runs", Authorization=None, Cookie=f"mlsys_session={LIKE[6:]}"), "401"),
        ("login without a token", post("/login", {"token": ""}, Authorization=None), "401"),
        ("login with a number", post("/login", {"token": 1}, Authorization=None), "422 token"),
        ("login with a revoked token", post("/login", {"token": "$REVOKED"}, Authorization=None), "401"),
        ("login by another site's form", post("/login", {"token": "$READ"}, Authorization=None, Origin=ELSEWHERE), "403"),
        (
            "login with 100,000 fields",
            page(send("POST", "/login", b"&".join([b"a=1"] * 100_000), Content_Type=FORM, Authorization=None)),
            "401, a page",
        ),
    ),
    *rows(
        "sessions",
        ("used after it was ended", browser(logged_out), "401"),
        ("by a link from elsewhere", browser(lambda t, own: t.ask("GET", "/model/demote?model_name=quick", **own)), "403"),
        (
            "by a form of another site",
            browser(lambda t, own: t.ask("POST", "/model/demote", DEMOTE, Origin=ELSEWHERE, **own)),
            "403",
        ),
        ("by a page that says nothing", browser(lambda t, own: t.ask("POST", "/model/demote", DEMOTE, **own)), "403"),
        ("login that leads to another server", onward("https://evil.example/"), "303 /"),
        ("login that leads there without a scheme", onward("//evil.example/"), "303 /"),
        ("login that leads there by a backslash", onward("/%5cevil.example/"), "303 /"),
        ("login that leads to a script", onward("javascript:alert(1)"), "303 /"),
        ("login that leads to a demotion", onward("/model/demote?model_name%3Dquick"), "303 /"),
        ("login that splits the answer", onward("/%0d%0aSet-Cookie:a=b"), "303 /"),
        may_change=frozenset({"sessions"}),
    ),
    *rows("tokens", ("guessed at /login, forty in a row", guessed, "429")),  # the last: then nobody here may log in for a while
]
