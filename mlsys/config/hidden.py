"""Which texts of a configuration are secrets, so that whoever writes logs can keep them out."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from mlsys.config import schema
from mlsys.config.schema import Config

_TELLING = re.compile(r"url|password|secret|token|key|dsn", re.IGNORECASE)


def known_secrets(config: Config) -> list[str]:
    """The values of all secret keys, and of URLs the password besides, as written and as meant."""
    found: list[str] = []
    for name, rule in schema.rules().items():
        if rule.secret:
            title, _, last = name.rpartition(".")
            found += _texts(getattr(getattr(config, title) if title else config, last))
    passwords = [password for text in found if (password := _password(text))]
    return [*found, *passwords, *map(unquote, passwords)]


def _texts(value: Any) -> Iterator[str]:
    """All texts in it. Of the options of a sink only those whose names say that they are secret: others are types, hosts, patterns."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            given = part
            if isinstance(part, Mapping):
                given = {name: one for name, one in part.items() if isinstance(one, Mapping) or _TELLING.search(str(name))}
            yield from _texts(given)


def _password(text: str) -> str | None:
    try:
        return urlsplit(text).password
    except ValueError:
        return None
