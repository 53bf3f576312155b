"""Who calls: by a token in the Authorization header, by a browser's session, or from this machine where no token is needed."""

import ipaddress
from typing import Any

from flask import g, request

from mlsys import errors
from mlsys.access.gate import Caller, Gate
from mlsys.api.bodies import read_json
from mlsys.api.scopes import Need

COOKIES = ("__Host-mlsys_session", "mlsys_session")
"""The name behind TLS, which no other host can set, and the one without."""
IN_PROCESS = "mlsys.in_process"
"""In the WSGI environment: our own process calls. No client can say so, for what it sends has other names there."""
LOG_IN = (
    "Say who you are: Authorization: Bearer mlsys_... (the command line sends MLSYS_TOKEN; a browser logs in at /login). "
    "Whoever runs this server makes tokens with `mlsys token create`."
)


def admit(gate: Gate, need: Need) -> None:
    """Remembers the caller for the request. Raises Unauthorized, InsufficientScope."""
    if need == "public":
        return
    caller = identify(gate)
    if caller is None:
        raise errors.Unauthorized(LOG_IN, shown=False)
    g.caller = caller
    if not caller.may(need):
        raise errors.InsufficientScope(f"This needs a token with scope {need}; yours has {caller.scope}.", scope=need)


def identify(gate: Gate) -> Caller | None:
    """None: the caller does not say. Raises Unauthorized for a token or session that is not valid."""
    if request.environ.get(IN_PROCESS):
        return Caller(scope="admin")
    text = bearer()
    if text is not None:
        return gate.by_token(text)
    if gate.open():
        return Caller(scope="admin") if _on_this_machine() else None
    session = session_text()
    return gate.by_session(session) if session else None


def recognised(gate: Gate) -> bool:
    """Whether it can be told who calls; for answers that tell others less."""
    try:
        return identify(gate) is not None
    except errors.MlsysError:
        return False


def bearer() -> str | None:
    """The token of the Authorization header. Other schemes are none of ours: a proxy in front may use them."""
    given = request.authorization
    return (given.token or "") if given is not None and given.type == "bearer" else None


def shown_at_login(*, max_depth: int) -> str:
    """The token of a POST /login: of a form, of {"token": ..} as JSON, or of the header. Raises Malformed, Invalid."""
    if request.mimetype == "application/x-www-form-urlencoded":
        given: Any = request.form.get("token", "")
    elif request.is_json:
        body = read_json(request.get_data(), max_depth=max_depth)
        given = body.get("token") if isinstance(body, dict) and body.keys() <= {"token"} else None
    else:
        given = bearer()
    if not isinstance(given, str):
        raise errors.Invalid({"token": 'Show a token: as a form\'s field token, or as JSON {"token": ..}.'})
    return given.strip()


def session_text() -> str:
    return next((request.cookies[name] for name in COOKIES if name in request.cookies), "")


def actor() -> str | None:
    """How logs name the caller of this request; None where no token was needed."""
    caller: Caller | None = g.get("caller")
    return caller.actor if caller else None


def _on_this_machine() -> bool:
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False
