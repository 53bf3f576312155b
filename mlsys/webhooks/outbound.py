"""The one function through which mlsys calls a server that a user named: it reaches the public internet, and nothing of ours.

A name is resolved, every address it stands for must be allowed, and the connection goes to exactly one of those: between looking and
connecting nothing can change. Rejected: urllib3 and requests, which resolve once more when they connect, have no deadline for the whole
exchange, and would need their private parts replaced for both.
"""

import http.client
import logging
import socket
import ssl
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import mlsys
from mlsys import errors
from mlsys.webhooks import addresses
from mlsys.webhooks.addresses import Target
from mlsys.webhooks.exchange import Connection, Reply, Wire

_log = logging.getLogger(__name__)

Resolver = Callable[[str, int], Sequence[str]]
"""(name, port) -> addresses, best first. Raises OSError."""
_CONNECT_SECONDS = 5.0
_REST_SECONDS = 10.0
_MOST_RESTING = 32
_AGENT = f"mlsys/{mlsys.__version__}"


def system_resolver(name: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Outbound:
    """``allowed_hosts``: hosts, as a URL spells them, that may stand for any address. ``timeout_seconds``: for a whole call.

    Connections are kept for further calls for a few seconds; they lead where they were allowed to.
    """

    def __init__(
        self,
        *,
        allowed_hosts: Iterable[str] = (),
        timeout_seconds: float = 15.0,
        resolve: Resolver = system_resolver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = frozenset(_spelled(host) for host in allowed_hosts)
        self._timeout = timeout_seconds
        self._resolve = resolve
        self._tls = tls
        self._resting: dict[tuple[str, str, int], deque[Connection]] = defaultdict(deque)
        self._mutex = threading.Lock()

    def check(self, url: str) -> None:
        """Raises Invalid for a ``url`` that calls would be refused for. A name that cannot be resolved now may be so later, and passes."""
        target = addresses.parse(url)
        try:
            self._addresses(target, time.monotonic() + _CONNECT_SECONDS)
        except errors.RefusedAddress as error:
            raise errors.Invalid({"url": error.message}) from None
        except errors.Unanswered:
            pass

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Whatever is answered, redirects too: none is followed. Raises Invalid, RefusedAddress, and Unanswered when no answer came."""
        target = addresses.parse(url)
        given = {"Host": target.authority, "User-Agent": _AGENT, "Content-Length": str(len(body)), **headers}
        deadline = time.monotonic() + self._timeout
        begin = time.monotonic()
        try:
            reply = self._exchange(target, body, given, deadline)
        except TimeoutError:
            raise errors.Unanswered(f"No whole answer within {self._timeout:g} s.") from None
        except ssl.SSLCertVerificationError as error:
            raise errors.Unanswered(f"The certificate is not valid: {error.verify_message}.") from None
        except ssl.SSLError:
            raise errors.Unanswered("No TLS connection could be agreed on.") from None
        except ConnectionRefusedError:
            raise errors.Unanswered("The connection was refused.") from None
        except (OSError, http.client.HTTPException) as error:
            raise errors.Unanswered(f"No HTTP answer ({type(error).__name__}).") from None
        return Reply(status=reply.status, headers=reply.headers, body=reply.body, seconds=time.monotonic() - begin)

    def close(self) -> None:
        with self._mutex:
            connections = [connection for resting in self._resting.values() for connection in resting]
            self._resting.clear()
        for connection in connections:
            connection.close()

    def _exchange(self, target: Target, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        """By a connection that rests, else by a new one. The other side may close the former at any time: then once more."""
        connection = self._rested(target)
        if connection is not None:
            try:
                return self._by(connection, target, body, headers, deadline)
            except (ConnectionError, http.client.RemoteDisconnected):
                pass
        return self._by(self._connected(target, deadline), target, body, headers, deadline)

    def _by(self, connection: Connection, target: Target, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        reusable = False
        try:
            reply, reusable = connection.exchange("POST", target.path, body, headers, deadline=deadline)
        finally:
            if not reusable or not self._rest(connection, target):
                connection.close()
        return reply

    def _rest(self, connection: Connection, target: Target) -> bool:
        with self._mutex:
            resting = self._resting[target.scheme, target.host, target.port]
            if len(resting) >= _MOST_RESTING:
                return False
            resting.append(connection)
            return True

    def _rested(self, target: Target) -> Connection | None:
        key = (target.scheme, target.host, target.port)
        while True:
            with self._mutex:
                resting = self._resting.get(key)
                if not resting:
                    self._resting.pop(key, None)
                    return None
                connection = resting.pop()
            if connection.rested(_REST_SECONDS):
                return connection
            connection.close()

    def _connected(self, target: Target, deadline: float) -> Connection:
        """To the first address that takes the connection."""
        failure: OSError = ConnectionRefusedError()
        for address in self._addresses(target, deadline):
            left = min(deadline - time.monotonic(), _CONNECT_SECONDS)
            if left <= 0:
                break
            try:
                return Connection(Wire(self._secured(_connect(address, target.port, left), target)))
            except OSError as error:
                failure = error
        raise failure

    def _secured(self, sock: socket.socket, target: Target) -> socket.socket:
        """TLS for the host of the URL, whatever the address. Its handshake has the connection's patience for each step."""
        if target.scheme != "https":
            return sock
        if self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            return self._tls.wrap_socket(sock, server_hostname=target.host)
        except BaseException:
            sock.close()
            raise

    def _addresses(self, target: Target, deadline: float) -> Sequence[str]:
        """All that the host stands for, each of them allowed. Raises RefusedAddress, and Unanswered when it cannot be resolved."""
        literal = addresses.literal(target.host)
        found = [target.host] if literal is not None else self._resolved(target, deadline)
        if target.host in self._allowed:
            return found
        for text in found:
            address = addresses.literal(text)
            reason = "it is no address" if address is None else addresses.refusal(address)
            if reason is not None:
                raise errors.RefusedAddress(f"The host leads to an address that is not called: {reason}. {_REMEDY}")
        return found

    def _resolved(self, target: Target, deadline: float) -> Sequence[str]:
        """In a thread of its own: the system's resolver takes as long as it likes."""
        # by RFC 6761 this machine, whatever a resolver answers
        if f".{target.host}".endswith(".localhost") and target.host not in self._allowed:
            raise errors.RefusedAddress(f"The host is this machine. {_REMEDY}")
        found: list[Sequence[str]] = []

        def look_up() -> None:
            try:
                found.append(self._resolve(target.host, target.port))
            except (OSError, UnicodeError):
                found.append(())

        thread = threading.Thread(target=look_up, name="resolve", daemon=True)
        thread.start()
        thread.join(max(0.0, deadline - time.monotonic()))
        if not found or not found[0]:
            raise errors.Unanswered("The host's name could not be resolved.")
        return found[0]


_REMEDY = "Only public addresses are; the operator can allow a host by its name in webhooks.allowed_hosts."


def _connect(address: str, port: int, seconds: float) -> socket.socket:
    """By number: nothing is resolved here."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _spelled(host: str) -> str:
    """As Target spells it."""
    bare = host.strip().strip("[]").rstrip(".").lower()
    found = addresses.literal(bare)
    return bare if found is None else str(found)
