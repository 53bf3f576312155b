"""Who a caller is, told by the token or session shown. Known ones are remembered for half a second: a request costs no query."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from mlsys import errors
from mlsys.access import credentials
from mlsys.access.credentials import Kind, Shown
from mlsys.clock import Clock
from mlsys.registry.tokens import SCOPES, Credential, Scope, Token
from mlsys.registry.unit_of_work import Units

FRESH_SECONDS = 0.5
"""For how long a revoked token may still be let in by a process that has just seen it."""
_NOTED_EVERY = 60.0
_MOST_KNOWN = 1000
NOT_VALID = "This token is not valid. Tokens are made by `mlsys token create`, and shown once."


@dataclass(frozen=True, kw_only=True)
class Caller:
    """``token`` None: somebody on this machine, where no token is needed. ``by_cookie``: a browser sent the credential by itself."""

    scope: Scope
    token: Token | None = None
    by_cookie: bool = False

    @property
    def actor(self) -> str | None:
        """How logs name it; None where nobody said who it is."""
        return f"{self.token.name} ({self.token.id})" if self.token else None

    def may(self, scope: Scope) -> bool:
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


@dataclass(frozen=True, kw_only=True)
class _Known:
    credential: Credential
    looked_at: float


class Gate:
    """``required``: always, never, or auto: once a token was ever made. A revoked or expired one still counts: an end opens no door."""

    def __init__(self, *, units: Units, clock: Clock, required: str, session_life: timedelta) -> None:
        self._units = units
        self._clock = clock
        self._needed = {"always": True, "never": False}.get(required)
        self._asked_at = -1e9
        self._session_life = session_life
        self._known: dict[tuple[str, str], _Known] = {}
        self._noted_at: dict[str, float] = {}
        self._mutex = threading.Lock()

    def open(self) -> bool:
        """Whether callers on this machine need no token. Raises DatabaseUnavailable when that cannot be told: then nobody is let in."""
        if self._needed is None and time.monotonic() - self._asked_at > FRESH_SECONDS:
            with self._units() as unit:
                self._needed = unit.tokens.any() or None
            self._asked_at = time.monotonic()
        return not self._needed

    def identify(self, kind: Kind, text: str, *, unknown: Callable[[], None] = lambda: None) -> Caller:
        """``unknown``: called before one is looked up that was not seen here before; may refuse that. Raises Unauthorized."""
        shown = credentials.read(kind, text)
        if shown is None or (kind, shown.id) not in self._known:
            unknown()
        return self._caller(shown)

    def log_in(self, text: str) -> tuple[Caller, str, datetime]:
        """Opens a session with a token: its caller, its text and its end. Raises Unauthorized."""
        caller, shown = self.identify("token", text), credentials.new("session")
        if caller.token is None:
            raise errors.Unauthorized(NOT_VALID)
        ends = [end for end in (self._clock.now() + self._session_life, caller.token.expires_at) if end is not None]
        with self._units() as unit:
            unit.tokens.add_session(shown.id, token_id=caller.token.id, digest=shown.digest(), expires_at=min(ends))
            unit.commit()
        return caller, shown.text, min(ends)

    def log_out(self, text: str) -> None:
        """Ends a session for good; whatever is no session is left alone."""
        shown = credentials.read("session", text)
        known = None if shown is None else self._find(shown)
        if shown is None or known is None or not shown.fits(known.digest):
            return
        with self._units() as unit:
            unit.tokens.end_session(shown.id)
            unit.commit()
        self._known.pop((shown.kind, shown.id), None)

    def _caller(self, shown: Shown | None) -> Caller:
        found = None if shown is None else self._find(shown)
        if shown is None or found is None or not shown.fits(found.digest):
            raise errors.Unauthorized(NOT_VALID)
        now, token = self._clock.now(), found.token
        if token.revoked_at is not None:
            raise errors.Unauthorized("This token was revoked; ask for another.")
        if any(end is not None and end <= now for end in (token.expires_at, found.expires_at)):
            raise errors.Unauthorized(f"This {shown.kind} has expired; {'log in again' if shown.kind == 'session' else 'ask for another'}.")
        self._note(token)
        return Caller(scope=token.scope, token=token, by_cookie=shown.kind == "session")

    def _find(self, shown: Shown) -> Credential | None:
        known = self._known.get((shown.kind, shown.id))
        if known is not None and time.monotonic() - known.looked_at < FRESH_SECONDS:
            return known.credential
        looked_at = time.monotonic()  # before the look: what is revoked meanwhile is not remembered for longer
        with self._units() as unit:
            found = unit.tokens.by_session(shown.id) if shown.kind == "session" else unit.tokens.by_token(shown.id)
        self._remember(shown, found, looked_at)
        return found

    def _note(self, token: Token) -> None:
        """That it was used; to the minute, so that a request writes nothing."""
        now = time.monotonic()
        if now - self._noted_at.get(token.id, -_NOTED_EVERY) >= _NOTED_EVERY:
            self._noted_at[token.id] = now
            with self._units() as unit:
                unit.tokens.used(token.id)
                unit.commit()

    def _remember(self, shown: Shown, found: Credential | None, looked_at: float) -> None:
        with self._mutex:
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            self._known.pop((shown.kind, shown.id), None)
            if found is not None:
                self._known[shown.kind, shown.id] = _Known(credential=found, looked_at=looked_at)
