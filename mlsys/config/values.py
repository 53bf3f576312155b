"""How one configured value is read and checked, whether it comes from YAML (typed) or from the environment (text).

Each function makes a Reader; a setting's Reader stands beside it in schema.py. No key names, files or environment here.
"""

import contextlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class UnfitError(ValueError):
    """The value does not fit. The message, if there is one, says more than the reader's ``expected``."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """A value as it was given. ``text``: it is an environment variable's; ``base``: the folder its relative paths start from."""

    value: Any
    text: bool = False
    base: Path = field(default_factory=Path)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """``expected`` says in words what fits; ``read`` gives the value, or raises UnfitError."""

    expected: str
    read: Callable[[Given], Any]


def _number(value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
        raise UnfitError


def whole(low: int, high: int) -> Reader:
    def read(given: Given) -> int:
        value = given.value
        if given.text and re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()):
            value = int(value)
        if not isinstance(value, int):
            raise UnfitError
        _number(value, low, high)
        return value

    return Reader(expected=f"a whole number from {low} to {high}", read=read)


def number(low: float, high: float) -> Reader:
    def read(given: Given) -> float:
        value = given.value
        if given.text and re.fullmatch(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", value.strip()):
            with contextlib.suppress(ValueError):
                value = float(value)
        _number(value, low, high)
        return float(value)

    return Reader(expected=f"a number from {low:g} to {high:g}", read=read)


def flag() -> Reader:
    def read(given: Given) -> bool:
        value = {"true": True, "false": False}.get(given.value.lower()) if given.text else given.value
        if not isinstance(value, bool):
            raise UnfitError
        return value

    return Reader(expected="true or false", read=read)


def choice(*names: str) -> Reader:
    def read(given: Given) -> str:
        if not isinstance(given.value, str) or given.value.lower() not in names:
            raise UnfitError
        return given.value.lower()

    return Reader(expected=f"one of {', '.join(names)}", read=read)


def text(expected: str = "text", *, pattern: str = r"[^\x00]*") -> Reader:
    def read(given: Given) -> str:
        if not isinstance(given.value, str):
            raise UnfitError(f"expected {expected}; put it in quotes" if isinstance(given.value, int | float) else "")
        if not re.fullmatch(pattern, given.value, flags=re.DOTALL):
            raise UnfitError
        return given.value

    return Reader(expected=expected, read=read)


def path() -> Reader:
    """An absolute path: a relative one starts at the file's folder, or at the working folder for environment and flags."""

    def read(given: Given) -> Path:
        if not isinstance(given.value, str | Path) or not str(given.value).strip() or "\0" in str(given.value):
            raise UnfitError
        try:
            return given.base / Path(given.value).expanduser()
        except RuntimeError:
            raise UnfitError("its ~ names no user of this machine") from None

    return Reader(expected="the path of a folder", read=read)


def location() -> Reader:
    """A folder's absolute path as text, or empty."""

    def read(given: Given) -> str:
        if given.value == "":
            return ""
        if isinstance(given.value, str) and "://" in given.value:
            raise UnfitError("expected the path of a folder: this version stores artifacts in folders only, not at a URL")
        return str(path().read(given))

    return Reader(expected="the path of a folder, or empty", read=read)


def several(item: Reader, *, separator: str) -> Reader:
    """A list. In the environment its parts are separated by ``separator``, empty parts ignored."""

    def read(given: Given) -> tuple[Any, ...]:
        values = [part.strip() for part in given.value.split(separator) if part.strip()] if given.text else given.value
        if not isinstance(values, list | tuple):
            raise UnfitError(f"expected {expected}; write [{values}]" if isinstance(values, str | Path) else "")
        return tuple(_part(item, Given(value=value, text=given.text, base=given.base), f"part {n}") for n, value in enumerate(values, 1))

    expected = f"a list, each part {item.expected}"
    return Reader(expected=expected, read=read)


def mapping() -> Reader:
    """A mapping taken as it is: whoever uses it checks what is inside."""

    def read(given: Given) -> dict[str, Any]:
        if not isinstance(given.value, dict):
            raise UnfitError
        return given.value

    return Reader(expected="a mapping", read=read)


def _part(item: Reader, given: Given, what: str) -> Any:
    try:
        return item.read(given)
    except UnfitError as error:
        raise UnfitError(f"{what}: {error}" if str(error) else f"{what}: expected {item.expected}") from None
