"""The one function that calls other servers: whom it refuses, that it connects where it looked, and what it makes of bad answers."""

import ipaddress
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import receivers
from certificates import self_signed

from mlsys import errors
from mlsys.webhooks import addresses
from mlsys.webhooks.outbound import Outbound

PUBLIC = "93.184.215.14"
REFUSED = (Path(__file__).parents[1] / "refused_addresses.txt").read_text().split()
WRONG = (
    "http://127\u30020\u30020\u30021/",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://%31%32%37.0.0.1/",
    "http://user@example.org/",
    "http://user:pw@example.org/",
    "http://example.org\\@127.0.0.1/",
    "http://example.org /",
    "http://exa\tmple.org/",
    "\nhttp://example.org/",
    "http://example.org:0/",
    "http://example.org:/",
    "http://example.org:65536/",
    "http://example.org:http/",
    "http://example..org/",
    "http://-example.org/",
    "http://example.org/#fragment",
    "http:///path",
    "http://",
    "//example.org/",
    "example.org",
    "ftp://example.org/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_x",
    "javascript:alert(1)",
    "http://[::1",
    "http://[v1.x]/",
    "http://a" + "b" * 3000 + ".org/",
    "",
)


def to(*found: str) -> Callable[[str, int], Sequence[str]]:
    return lambda name, port: found


Make = Callable[..., Outbound]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Outbound] = []

    def one(**given: Any) -> Outbound:
        made.append(Outbound(**given))
        return made[-1]

    yield one
    for outbound in made:
        outbound.close()


@pytest.fixture
def outbound(make: Make) -> Outbound:
    return make(resolve=to(PUBLIC))


def refused(outbound: Outbound, url: str) -> str:
    with pytest.raises(errors.Invalid) as caught:
        outbound.check(url)
    return " ".join(caught.value.fields["url"])


def test_table__of_refused_spellings(outbound: Outbound, capsys: pytest.CaptureFixture[str]) -> None:
    connected = Calls()
    table = {}
    for url in REFUSED:
        table[url] = refused(outbound, url)
        with connected, pytest.raises((errors.RefusedAddress, errors.Invalid)):
            outbound.post(url, b"{}", {})
    assert connected.made == []
    lines = [f"{url:<55} {reason.split('. ')[0]}" for url, reason in table.items()]
    with capsys.disabled():
        sys.stdout.write("\n  ".join([f"\n{len(table)} spellings refused at creation and at connection:", *lines]) + "\n")
    assert len(table) >= 60


class Calls:
    """Notes every connection that is tried meanwhile."""

    def __init__(self) -> None:
        self.made: list[object] = []

    def __enter__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(socket.socket, "connect", lambda sock, address: self.made.append(address))

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


@pytest.mark.parametrize("url", WRONG)
def test_check__refuses_what_clients_read_differently(outbound: Outbound, url: str) -> None:
    assert refused(outbound, url)


@pytest.mark.parametrize(
    "url", ["https://example.org", "http://example.org:8080/a?b=c", "http://93.184.215.14/", "https://[2606:2800:21f:cb07::1]:8443/x"]
)
def test_check__takes_public_addresses(outbound: Outbound, url: str) -> None:
    outbound.check(url)


def test_check__every_number_of_ipv4_that_is_not_public_is_refused() -> None:
    """One address of every /16, against the registry that ipaddress knows."""
    for upper in range(2**16):
        address = ipaddress.IPv4Address((upper << 16) + 1)
        if not address.is_global or address.is_multicast or address.is_reserved:
            assert addresses.refusal(address), address


def test_check__one_public_and_one_private_record_is_refused(make: Make) -> None:
    for records in ((PUBLIC, "10.0.0.1"), ("10.0.0.1", PUBLIC), (PUBLIC, "::1"), (PUBLIC, "fe80::1%eth0"), (PUBLIC, "nonsense")):
        assert "not called" in refused(make(resolve=to(*records)), "http://mixed.example/")


def test_check__a_name_that_cannot_be_resolved_now_passes_and_the_call_fails(make: Make) -> None:
    def nothing(name: str, port: int) -> Sequence[str]:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    outbound = make(resolve=nothing)
    outbound.check("http://later.example/")
    with pytest.raises(errors.Unanswered, match="could not be resolved"):
        outbound.post("http://later.example/", b"", {})


def test_post__dns_that_changes_after_creation_is_refused_at_connection(make: Make) -> None:
    answers = [(PUBLIC,), ("127.0.0.1",)]
    outbound = make(resolve=lambda name, port: answers.pop(0))
    outbound.check("http://rebinding.example/")
    connected = Calls()
    with connected, pytest.raises(errors.RefusedAddress):
        outbound.post("http://rebinding.example/", b"", {})
    assert connected.made == []


def test_post__connects_to_the_address_that_was_looked_at_and_resolves_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    connected: list[object] = []

    def resolve(name: str, port: int) -> Sequence[str]:
        asked.append(name)
        return (PUBLIC,)

    def connect(sock: socket.socket, address: object) -> None:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", None)
    with pytest.raises(errors.Unanswered, match="refused"):
        make(resolve=resolve).post("http://one.example:8080/", b"", {})
    assert (asked, connected) == (["one.example"], [(PUBLIC, 8080)])


def test_post__a_resolver_that_hangs_does_not_outlast_the_deadline(make: Make) -> None:
    def hang(name: str, port: int) -> Sequence[str]:
        release.wait(20)
        return ()

    release = threading.Event()
    begin = time.monotonic()
    with pytest.raises(errors.Unanswered):
        make(resolve=hang, timeout_seconds=0.3).post("http://hanging.example/", b"", {})
    assert time.monotonic() - begin < 5
    release.set()


def test_allowed_hosts__are_exceptions_by_name_only(make: Make) -> None:
    with receivers.receiving() as receiver:
        port = receiver.url.split(":")[2].split("/")[0]
        by_name = make(allowed_hosts=["Hooks.Internal"], resolve=to("127.0.0.1"))
        reply = by_name.post(f"http://hooks.internal:{port}/hook?a=b", b"{}", {"X-One": "1"})
        assert reply.status == 204
        assert receiver.got[0].headers["host"] == f"hooks.internal:{port}"
        assert (receiver.got[0].path, receiver.got[0].headers["x-one"]) == ("/hook?a=b", "1")
        assert refused(by_name, receiver.url)
        by_number = make(allowed_hosts=["127.0.0.1"], resolve=to("127.0.0.1"))
        assert by_number.post(receiver.url, b"{}", {}).status == 204
        assert refused(by_number, f"http://other.internal:{port}/")
        assert refused(by_number, "http://127.1/")
        assert refused(by_number, "http://[::1]/")


def test_allowed_hosts__take_ipv6_in_any_spelling(make: Make) -> None:
    with receivers.speaking(lambda connection: connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n"), host="::1") as url:
        assert make(allowed_hosts=["[0:0::1]"]).post(url, b"{}", {}).status == 204


def test_post__follows_no_redirect_and_reads_no_proxy_setting(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    with receivers.receiving() as inner, receivers.receiving(lambda _: (307, {"Location": inner.url})) as outer:
        reply = make(allowed_hosts=["127.0.0.1"]).post(outer.url, b"{}", {})
    assert (reply.status, reply.headers["location"], inner.got) == (307, inner.url, [])


def test_post__keeps_connections_and_takes_a_new_one_when_the_other_side_closed(make: Make) -> None:
    seen: list[int] = []

    def twice(connection: socket.socket) -> None:
        seen.append(connection.getpeername()[1])
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")

    outbound = make(allowed_hosts=["127.0.0.1"])
    with receivers.speaking(twice) as url:
        assert [outbound.post(url, b"{}", {}).body for _ in range(6)] == [b"ok"] * 6
    assert len(seen) == 3
    outbound.close()


ANSWERS = {
    "garbage": b"\x00\xffthis is not http\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "a head without end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    "a line without end": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    "a broken chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
}


@pytest.mark.parametrize("bytes", ANSWERS.values(), ids=ANSWERS)
def test_post__no_whole_answer_is_none(make: Make, bytes: bytes) -> None:
    with receivers.speaking(lambda connection: connection.sendall(bytes)) as url, pytest.raises(errors.Unanswered):
        make(allowed_hosts=["127.0.0.1"], timeout_seconds=5).post(url, b"{}", {})


def trickle(head: bytes) -> Callable[[socket.socket], None]:
    def say(connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.1)

    return say


SLOW = {
    "never": lambda connection: time.sleep(20),
    "a status line, byte by byte": trickle(b""),
    "a head, byte by byte": trickle(b"HTTP/1.1 200 OK\r\nX-"),
    "a body, byte by byte": trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
    "a body without length, byte by byte": trickle(b"HTTP/1.1 200 OK\r\n\r\n"),
    "continue, for ever": lambda connection: [(connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n"), time.sleep(0.1)) for _ in range(100)],
}


@pytest.mark.parametrize("say", SLOW.values(), ids=SLOW)
def test_post__the_deadline_is_for_the_whole(make: Make, say: Callable[[socket.socket], None]) -> None:
    begin = time.monotonic()
    with receivers.speaking(say) as url, pytest.raises(errors.Unanswered, match=r"within 0\.4 s"):
        make(allowed_hosts=["127.0.0.1"], timeout_seconds=0.4).post(url, b"{}", {})
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("head", [b"Content-Length: 1000000000\r\n\r\n", b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n3b9aca00\r\n"])
def test_post__of_a_gigabyte_little_is_read(make: Make, head: bytes) -> None:
    sent: list[int] = []

    def pour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head)
        for _ in range(10_000):
            sent.append(connection.send(b"x" * 100_000))

    with receivers.speaking(pour) as url:
        reply = make(allowed_hosts=["127.0.0.1"]).post(url, b"{}", {})
    assert (reply.status, len(reply.body)) == (200, 65536)
    assert sum(sent) < 50_000_000


def test_post__a_receiver_that_does_not_read_is_given_up(make: Make) -> None:
    stuck = socket.create_server(("127.0.0.1", 0))
    try:
        url = f"http://127.0.0.1:{stuck.getsockname()[1]}/"
        with pytest.raises(errors.Unanswered, match="within"):
            make(allowed_hosts=["127.0.0.1"], timeout_seconds=0.4).post(url, b"x" * 50_000_000, {})
    finally:
        stuck.close()


def test_post__tls_is_for_the_name_of_the_url_and_checks_its_certificate(make: Make, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "hooks.example")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    names: list[str | None] = []
    server.sni_callback = lambda sock, name, context: names.append(name)

    def say(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with Secure(server, say) as port:
        trusted = ssl.create_default_context(cafile=str(certificate))
        outbound = make(allowed_hosts=["hooks.example", "other.example"], resolve=to("127.0.0.1"), tls=trusted)
        assert outbound.post(f"https://hooks.example:{port}/", b"{}", {}).status == 204
        assert names == ["hooks.example"]
        with pytest.raises(errors.Unanswered, match="certificate is not valid"):
            outbound.post(f"https://other.example:{port}/", b"{}", {})
        with pytest.raises(errors.Unanswered, match="certificate is not valid"):
            make(allowed_hosts=["hooks.example"], resolve=to("127.0.0.1")).post(f"https://hooks.example:{port}/", b"{}", {})


class Secure:
    """A TLS server for a few connections."""

    def __init__(self, context: ssl.SSLContext, say: Callable[[socket.socket], None]) -> None:
        self._context = context
        self._say = say

    def __enter__(self) -> int:
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                plain = self._socket.accept()[0]
            except OSError:
                return
            try:
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    connection.recv(65536)
                    self._say(connection)
            except OSError:
                plain.close()
