"""/login and /logout: a browser shows a token once and has a session from then on. A page that needs one is answered with the form."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from flask import Blueprint, Response, jsonify, redirect, render_template, request

from mlsys import errors
from mlsys.access.gate import Caller
from mlsys.clock import rfc3339

FORM = "application/x-www-form-urlencoded"


class Door(Protocol):
    """Opens a session with what the present request shows, and ends that of the present request."""

    def log_in(self) -> tuple[Caller, str, datetime]: ...
    def log_out(self) -> None: ...


def build(*, door: Door, cookies: Collection[str], problem: Callable[[errors.MlsysError], Any], changing: Collection[str]) -> Blueprint:
    """``cookies``: the session's name behind TLS, and without; ``problem``: an error as programs get it.

    ``changing``: GETs that change state, which nobody is sent on to.
    """
    pages = Blueprint("login", __name__, template_folder="templates")

    @pages.get("/login")
    def form() -> str:
        return _form(_onward(request.args.get("next", "/"), changing))

    @pages.post("/login")
    def log_in() -> Any:
        caller, text, ends_at = door.log_in()
        onward = _onward(request.form.get("next", "/"), changing)
        told = {"scope": caller.scope, "actor": caller.actor, "expires_at": rfc3339(ends_at)}
        response: Any = redirect(onward, 303) if request.mimetype == FORM else jsonify(told)
        _keep(response, cookies, text, ends_at)
        return response

    @pages.post("/logout")
    def log_out() -> Any:
        response: Any = redirect("/login", 303) if request.mimetype == FORM else Response(status=204)
        door.log_out()
        for name in cookies:
            response.delete_cookie(name, secure=request.is_secure, httponly=True, samesite="Lax")
        return response

    @pages.app_errorhandler(errors.Unauthorized)
    def refused(error: errors.Unauthorized) -> Any:
        """People get the form at the very address they asked for; to programs it is an error like any other."""
        answer = problem(error)
        if request.path.rstrip("/") == "/login":
            asked = request.form.get("next", "/") if request.mimetype == FORM else None
        else:
            asked = request.full_path.rstrip("?") if request.method == "GET" and _reads_html() else None
        if asked is not None:
            answer.data = _form(_onward(asked, changing), trouble=error.message if error.shown else "")
            answer.content_type = "text/html; charset=utf-8"
        return answer

    return pages


def _form(onward: str, *, trouble: str = "") -> str:
    return render_template("login.html", next=onward, trouble=trouble)


def _keep(response: Response, cookies: Collection[str], text: str, ends_at: datetime) -> None:
    """Lax, so that a link from a message opens a page; what changes state asks for more than the cookie (api/guard.py)."""
    host_only, plain = cookies
    name = host_only if request.is_secure else plain
    response.set_cookie(name, text, expires=ends_at, secure=request.is_secure, httponly=True, samesite="Lax", path="/")


def _onward(address: str, changing: Collection[str]) -> str:
    """Where to after a login: an address of ours, which only reads; anything else leads to the overview."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "/"
    ours = not parts.scheme and not parts.netloc and address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if ours and address.isprintable() and parts.path.rstrip("/") not in {*changing, "/login"} else "/"


def _reads_html() -> bool:
    return request.accept_mimetypes.best_match(("application/json", "text/html")) == "text/html"
