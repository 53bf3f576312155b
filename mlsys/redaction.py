"""Takes secrets out of text that is about to be shown: the last line of defence. What writes the text should not know them at all."""

import re
from collections.abc import Iterable

HIDDEN = "***"
_SHORTEST = 6  # a shorter secret would also be found inside words that are none
_FORMS = re.compile(
    r"(?P<kind>whsec_)[A-Za-z0-9+/=_-]+"
    r"|(?P<token>mlsys_[A-Za-z0-9]+_)[A-Za-z0-9_-]{16,}"
    r"|(?P<user>://[^\s/:@\"'\[]*:)[^\s@\"']+(?=@)"
    r"|(?P<scheme>\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{6,}"
    r"|(?P<name>\b(?:password|passwd|secret|secret_key|token|api_key)=[\"']?)[^\s\"',;&)]+",
    re.IGNORECASE,
)


class Redactor:
    """``secrets``: known ones, found wherever they stand. What has the form of one is found besides: tokens, passwords in URLs .."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= _SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        return _FORMS.sub(lambda found: f"{found[found.lastgroup or 0]}{HIDDEN}", text)
