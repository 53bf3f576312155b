"""The use cases of tokens: made, listed, taken back. Each change is a row that says when and by whom, and a line of the log."""

import logging
from collections.abc import Sequence
from datetime import datetime

from mlsys import errors
from mlsys.access import credentials
from mlsys.clock import Clock
from mlsys.registry.tokens import Scope, Token
from mlsys.registry.unit_of_work import Units

_log = logging.getLogger(__name__)
_LONGEST_NAME = 64


class Tokens:
    def __init__(self, *, units: Units, clock: Clock) -> None:
        self._units = units
        self._clock = clock

    def create(self, name: str, scope: Scope, *, by: str, expires_at: datetime | None = None) -> tuple[Token, str]:
        """The token, and its text: that is stored nowhere and cannot be told again. Raises Invalid."""
        now = self._clock.now()
        if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
            raise errors.Invalid({"name": f"Write 1 to {_LONGEST_NAME} printable characters that say who it is for."})
        if expires_at is not None and expires_at <= now:
            raise errors.Invalid({"expires_at": "This lies in the past."})
        shown = credentials.new("token")
        token = Token(id=shown.id, name=name, scope=scope, created_at=now, created_by=by, expires_at=expires_at)
        with self._units() as unit:
            unit.tokens.add(token, shown.digest())
            unit.commit()
        _log.info("token %s (%s, scope %s) was made by %s", token.id, name, scope, by)
        return token, shown.text

    def list(self) -> Sequence[Token]:
        with self._units() as unit:
            return unit.tokens.list()

    def revoke(self, id: str, *, by: str) -> Token:
        """Refused from now on, and with it its sessions; processes that serve know within half a second. Raises NotFound."""
        with self._units() as unit:
            token = unit.tokens.revoke(id, by=by)
            unit.commit()
        _log.info("token %s (%s) was revoked by %s", token.id, token.name, token.revoked_by)
        return token

    def usable(self) -> bool:
        """Whether there is one that lets somebody in."""
        with self._units() as unit:
            return unit.tokens.usable()
