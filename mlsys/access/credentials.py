"""What callers show: ``mlsys_<id>_<secret>`` (a token) and ``<id>_<secret>`` (a session), made and read. Nothing is stored here.

The secret is 260 random bits, so nobody can guess one from its digest, and a slow hash would only slow each request down. The digest is
keyed by kind and id: one that is copied to another row fits nothing there.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Literal

from mlsys.ids import new_id

Kind = Literal["token", "session"]
_SECRET = 52  # characters of 5 bits
_PATTERN = {
    "token": re.compile(rf"mlsys_([0-9a-z]{{12}})_([0-9a-z]{{{_SECRET}}})", re.ASCII),
    "session": re.compile(rf"([0-9a-z]{{12}})_([0-9a-z]{{{_SECRET}}})", re.ASCII),
}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A credential in clear. Its repr keeps the secret, so that no log line or traceback can leak it."""

    kind: Kind
    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """As it is given to the caller, once."""
        return f"{'mlsys_' if self.kind == 'token' else ''}{self.id}_{self.secret}"

    def digest(self) -> str:
        return hashlib.blake2b(self.secret.encode(), key=self.id.encode(), person=self.kind.encode(), digest_size=32).hexdigest()

    def fits(self, digest: str) -> bool:
        """Whether that digest is of this secret; takes as long whether it is or not."""
        return hmac.compare_digest(self.digest(), digest)


def new(kind: Kind) -> Shown:
    return Shown(kind=kind, id=new_id(), secret=new_id(_SECRET))


def read(kind: Kind, text: str) -> Shown | None:
    """None for what cannot be one."""
    found = _PATTERN[kind].fullmatch(text)
    return found and Shown(kind=kind, id=found[1], secret=found[2])
