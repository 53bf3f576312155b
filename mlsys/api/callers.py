"""Who calls: by a token in the Authorization header, by a browser's session, or from this machine where no token is needed."""

import ipaddress
from collections.abc import Callable
from datetime import datetime
from functools import partial

from flask import g, request

from mlsys import errors
from mlsys.access.credentials import Kind
from mlsys.access.gate import Caller, Gate
from mlsys.access.rates import Rates
from mlsys.api.bodies import read_json
from mlsys.api.scopes import Need

COOKIES = ("__Host-mlsys_session", "mlsys_session")
"""The name behind TLS, which no other host can set, and the one without."""
IN_PROCESS = "mlsys.in_process"
"""In the WSGI environment: our own process calls. No client can say so, for what it sends has other names there."""
_FORWARDING = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Real-Ip")
LOG_IN = (
    "Say who you are: Authorization: Bearer mlsys_... (the command line sends MLSYS_TOKEN; a browser logs in at /login). "
    "Whoever runs this server makes tokens with `mlsys token create`."
)


class Callers:
    def __init__(self, *, gate: Gate, rates: Rates, max_depth: int) -> None:
        """``max_depth``: of a JSON body at /login."""
        self._gate = gate
        self._rates = rates
        self._max_depth = max_depth

    def admit(self, need: Need) -> None:
        """Remembers the caller for the request. Raises Unauthorized, InsufficientScope, TooMany."""
        if need == "public":
            self._count(None)
            return
        caller = self._identify()
        self._count(caller)
        if caller is None:
            raise errors.Unauthorized(LOG_IN, shown=False)
        g.caller = caller
        if not caller.may(need):
            raise errors.InsufficientScope(f"This needs a token with scope {need}; yours has {caller.scope}.", scope=need)

    def log_in(self) -> tuple[Caller, str, datetime]:
        """Opens a session with the token that the request shows: its caller, text and end. Raises Unauthorized, TooMany, Invalid."""
        text, address = shown_at_login(max_depth=self._max_depth), request.remote_addr or ""
        self._rates.check_failures(address)
        try:
            return self._gate.log_in(text)
        except errors.Unauthorized:
            self._rates.count_failure(address)
            raise

    def log_out(self) -> None:
        """Ends the session of the request, if it has one."""
        self._gate.log_out(_session_text())

    def recognised(self) -> bool:
        """Whether it can be told who calls; for answers that tell others less."""
        try:
            return self._identify() is not None
        except errors.MlsysError:
            return False

    def still_let_in(self) -> Callable[[], bool]:
        """For an answer that goes on for long: asks, whenever it is called, whether this request's caller would still be let in."""
        caller: Caller = g.caller
        text = bearer()
        if request.environ.get(IN_PROCESS):
            return lambda: True
        if caller.token is None:
            return self._gate.open
        return partial(self._lets_in, *(("session", _session_text()) if text is None else ("token", text)))

    def _lets_in(self, kind: Kind, text: str) -> bool:
        try:
            self._gate.identify(kind, text)
        except errors.Unauthorized:
            return False
        return True

    def _identify(self) -> Caller | None:
        """None: the caller does not say. Raises Unauthorized for a token or session that is not valid."""
        if request.environ.get(IN_PROCESS):
            return Caller(scope="admin")
        text = bearer()
        if text is not None:
            return self._gate.identify("token", text, unknown=self._count_unknown)
        if self._gate.open():
            return Caller(scope="admin") if _on_this_machine() else None
        session = _session_text()
        return self._gate.identify("session", session, unknown=self._count_unknown) if session else None

    def _count_unknown(self) -> None:
        """A credential that was not seen before counts as its address's: it costs a query."""
        self._rates.count(request.remote_addr or "")

    def _count(self, caller: Caller | None) -> None:
        """By token, else by address. Whoever needs no token is at home."""
        if caller is not None and caller.token is not None:
            self._rates.count(caller.token.id)
        elif caller is None and not _on_this_machine():
            self._rates.count(request.remote_addr or "")


def shown_at_login(*, max_depth: int) -> str:
    """The token of a form, of {"token": ..} as JSON, or of the header. Raises Malformed, Invalid."""
    given: object
    if request.mimetype == "application/x-www-form-urlencoded":
        given = request.form.get("token", "")
    elif request.is_json:
        body = read_json(request.get_data(), max_depth=max_depth)
        given = body.get("token") if isinstance(body, dict) and body.keys() <= {"token"} else None
    else:
        given = bearer()
    if not isinstance(given, str):
        raise errors.Invalid({"token": 'Show a token: as a form\'s field token, or as JSON {"token": ..}.'})
    return given.strip()


def bearer() -> str | None:
    """The token of the Authorization header. Other schemes are none of ours: a proxy in front may use them."""
    given = request.authorization
    return (given.token or "") if given is not None and given.type == "bearer" else None


def actor() -> str | None:
    """How logs name the caller of this request; None where no token was needed."""
    caller: Caller | None = g.get("caller")
    return caller.actor if caller else None


def _session_text() -> str:
    return next((request.cookies[name] for name in COOKIES if name in request.cookies), "")


def _on_this_machine() -> bool:
    """A proxy on this machine speaks for others: who says so is not at home."""
    if any(name in request.headers for name in _FORWARDING):
        return False
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False
