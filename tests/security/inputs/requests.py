"""The request itself: foreign hosts and origins, other sites' pages, methods, broken HTTP, slow clients, keys that are used again."""

import socket
import time
from contextlib import ExitStack, closing

import front

from security.table import Attack, get, post, rows
from security.target import Answer, Target, answer

FOREIGN = "https://evil.example"
DEMOTE = "/model/demote?model_name=quick"
PROMOTE = {"model_name": "quick", "model_version_id": "$FIRST"}


def host(name: str) -> Attack:
    return lambda target: target.send("GET", "/runs", headers={"Host": name.replace("PORT", str(target.port))})


def raw(data: bytes) -> Attack:
    """A connection on which just this is said."""

    def attack(target: Target) -> Answer | str:
        with closing(target.connect()) as sock:
            sock.sendall(data.replace(b"Host:", f"Authorization: Bearer {target.known['ADMIN']}\r\nHost:".encode(), 1))
            return answer(sock)

    return attack


def again(first: dict[str, object], second: dict[str, object], path: str, key: str = "attack") -> Attack:
    """A key that has been used, with another body."""

    def attack(target: Target) -> Answer | str:
        used = target.ask("POST", path, target.filled(first), Idempotency_Key=key)
        assert used.status in (200, 202), used.text
        return target.ask("POST", path, target.filled(second), Idempotency_Key=key)

    return attack


def once(target: Target) -> Answer | str:
    """A promotion sent ten times with one key is one entry of the log."""
    before = len(target.ask("GET", "/models/quick/promotions").json["items"])
    for _ in range(10):
        found = target.ask("POST", "/model/promote", target.filled(PROMOTE), Idempotency_Key="promoted-once")
        assert found.status == 200, found.text
    grown = len(target.ask("GET", "/models/quick/promotions").json["items"]) - before
    return f"done {grown} times"


def trickled(target: Target) -> Answer | str:
    """Forty clients that send a byte now and then; one more is answered meanwhile."""
    with ExitStack() as stack:
        slow = [stack.enter_context(closing(target.connect())) for _ in range(40)]
        for sock in slow:
            sock.sendall(b"POST /job/train HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(3):
            for sock in slow:
                sock.sendall(b"{")
            time.sleep(0.05)
        return target.ask("GET", "/runs/none")


def silent(target: Target) -> Answer | str:
    """Two hundred that say nothing at all."""
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(closing(target.connect()))
        return target.ask("GET", "/runs/none")


def hanging_up(target: Target) -> Answer | str:
    """Fifty that leave in the middle of a body, and fifty that do not read their answer."""
    for path, length in (("/job/train", 1000), ("/runs", 0)):
        for _ in range(50):
            with closing(target.connect()) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.sendall(
                    f"{'POST' if length else 'GET'} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n".encode()
                )
    return target.ask("GET", "/runs/none")


LINE = b"GET /runs HTTP/1.1\r\nHost: 127.0.0.1\r\n"
ROWS = [
    *rows(
        "Host",
        ("another", host("evil.example"), "400"),
        ("another, with our port", host("evil.example:PORT"), "400"),
        ("ours in front of another", host("127.0.0.1.evil.example"), "400"),
        ("ours behind another", host("evil.example.localhost"), "400"),
        ("user info", host("127.0.0.1@evil.example"), "400"),
        ("path", host("127.0.0.1/evil"), "400"),
        ("number of this machine", host("2130706433"), "400"),
        ("any address", host("0.0.0.0"), "400"),
        ("private address", host("192.168.0.1"), "400"),
        ("port that is none", host("127.0.0.1:evil"), "400"),
        ("port 65536", host("127.0.0.1:65536"), "400"),
        ("empty", host(""), "400"),
        ("spaces", host("127.0.0.1 evil.example"), "400"),
        ("NUL", host("127.0.0.1\0"), "400"),
        ("none at all", raw(b"GET /runs HTTP/1.1\r\nConnection: close\r\n\r\n"), "400"),
        ("two of them", raw(LINE + b"Host: evil.example\r\nConnection: close\r\n\r\n"), "400"),
        ("in a header of proxies", get("/nothing", X_Forwarded_Host="evil.example", X_Forwarded_Proto="https"), "404"),
    ),
    *rows(
        "other sites",
        ("GET of /model/demote by a link", get(DEMOTE, Sec_Fetch_Site="cross-site"), "403"),
        ("GET of /model/demote by an image", get(DEMOTE, Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="image"), "403"),
        ("GET of /model/demote from a port beside", get(DEMOTE, Sec_Fetch_Site="same-site"), "403"),
        ("GET of /model/demote, with a slash", get("/model/demote/?model_name=quick", Sec_Fetch_Site="cross-site"), "403"),
        ("GET of /model/demote, with two slashes", get("/model//demote?model_name=quick", Sec_Fetch_Site="cross-site"), "308"),
        ("GET of /model/demote, encoded", get("/model/%64emote?model_name=quick", Sec_Fetch_Site="cross-site"), "403"),
        ("HEAD of /model/demote", lambda t: t.ask("HEAD", DEMOTE), "405"),
        ("GET of /migrate/", get("/migrate/?version=000&direction=down&force=true", Sec_Fetch_Site="cross-site"), "403"),
        ("foreign Origin", post("/model/demote", {"model_name": "quick"}, Origin=FOREIGN), "403"),
        ("Origin null, of a sandboxed frame", post("/model/demote", {"model_name": "quick"}, Origin="null"), "403"),
        ("Origin that begins like ours", post("/model/demote", {"model_name": "quick"}, Origin="http://127.0.0.1.evil.example"), "403"),
        ("Origin of another port", post("/model/demote", {"model_name": "quick"}, Origin="http://127.0.0.1:1"), "403"),
        ("Origin, for a webhook", post("/webhooks", {"url": "http://127.0.0.1:1/", "events": ["*"]}, Origin=FOREIGN), "403"),
        ("DELETE by a page", lambda t: t.ask("DELETE", "/schedules/yearly", Origin=FOREIGN), "403"),
        ("site that is none", post("/model/demote", {"model_name": "quick"}, Sec_Fetch_Site="evil"), "403"),
        ("method in a header", lambda t: t.ask("GET", "/runs/none", X_HTTP_Method_Override="DELETE"), "404"),
    ),
    *rows(
        "HTTP",
        ("no HTTP", raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), "400"),
        ("method that is none", raw(b"EVIL /runs HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"), "405"),
        ("TRACE", lambda t: t.ask("TRACE", "/runs"), "405"),
        ("CONNECT", raw(b"CONNECT 10.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"), "404"),
        ("line of 300 kB", raw(b"GET /" + b"x" * 300_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"), "431"),
        ("header of 300 kB", raw(LINE + b"X: " + b"x" * 300_000 + b"\r\n\r\n"), "431"),
        ("10,000 headers", raw(LINE + b"".join(b"X%d: 1\r\n" % i for i in range(40_000)) + b"\r\n"), "431"),
        ("length that is none", raw(b"POST /job/train HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n"), "400"),
        ("length below zero", raw(b"POST /job/train HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n"), "400"),
        ("two lengths", raw(b"POST /job/train HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 9\r\n\r\n"), "400"),
        (
            "length and chunks, to smuggle another request",
            raw(
                b"POST /job/train HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"
            ),
            "501",
        ),
        ("header folded over lines", raw(LINE + b"X: a\r\n\tb\r\nX : c\r\nConnection: close\r\n\r\n"), "400"),
        ("line break within a header", raw(LINE + b"X: a\nEvil: b\r\nConnection: close\r\n\r\n"), "400"),
        ("HTTP 0.9", raw(b"GET /runs/none\r\n\r\n"), "400"),
    ),
    *rows(
        "slow clients",
        ("40 that trickle a body", trickled, "404"),
        ("200 that say nothing", silent, "404"),
        ("100 that hang up", hanging_up, "404"),
    ),
    *rows(
        "idempotency keys",
        ("empty", post("/job/train", front.TRAIN, Idempotency_Key=""), "422 Idempotency-Key"),
        ("of 256 characters", post("/job/train", front.TRAIN, Idempotency_Key="x" * 256), "422 Idempotency-Key"),
        ("with a space", post("/job/train", front.TRAIN, Idempotency_Key="a b"), "422 Idempotency-Key"),
        ("with a letter beyond ASCII", post("/job/train", front.TRAIN, Idempotency_Key="k\u00e9"), "422 Idempotency-Key"),
        ("on a refused request", post("/job/train", front.TRAIN | {"file_path": "../x"}, Idempotency_Key="refused"), "422 file_path"),
    ),
    *rows(
        "idempotency keys",
        ("replayed ten times", once, "done 1 times"),
        ("used again for another body", again(PROMOTE, PROMOTE | {"reason": "other"}, path="/model/promote"), "422 Idempotency-Key"),
        may_change=None,
    ),
]
