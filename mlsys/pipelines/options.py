"""Checks a component's options against its constructor: names, presence and simple types, with messages that name the remedy.

Must not know any component. Also the one place that words "did you mean".
"""

import difflib
import inspect
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from mlsys import errors

WORDS: dict[Any, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def check(given: Mapping[str, Any], known: Mapping[str, inspect.Parameter], *, hints: Mapping[str, Any], field: str) -> None:
    """Raise Invalid with every unknown, missing or wrongly typed option at once."""
    wrong = {**_unknown(given, known), **_missing(given, known), **_mistyped(given, known, hints)}
    if wrong:
        raise errors.Invalid({f"{field}.{option}": text for option, text in wrong.items()})


def nearest(name: str, names: Iterable[str]) -> str:
    """``did you mean 'x'? Known: ...``: what to show beside an unknown name."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return (f"did you mean '{close[0]}'? " if close else "") + f"known: {listing(names)}"


def listing(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _unknown(given: Mapping[str, Any], known: Mapping[str, inspect.Parameter]) -> dict[str, str]:
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values()):
        return {}
    return {name: f"Unknown option; {nearest(str(name), known)}." for name in given if name not in known}


def _missing(given: Mapping[str, Any], known: Mapping[str, inspect.Parameter]) -> dict[str, str]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [name for name, parameter in known.items() if parameter.default is parameter.empty and parameter.kind in named]
    return {name: "This option is needed." for name in needed if name not in given}


def _mistyped(given: Mapping[str, Any], known: Mapping[str, inspect.Parameter], hints: Mapping[str, Any]) -> dict[str, str]:
    checked = {name: value for name, value in given.items() if name in known and name in hints}
    return {name: f"This must be {_word(hints[name])}." for name, value in checked.items() if not _fits(value, hints[name])}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value read from YAML or JSON fits a simple annotation; an annotation of another sort is left to the component."""
    origin = get_origin(hint) or hint
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin in (str, bool, type(None)):
        return isinstance(value, origin)
    return _fits_container(value, hint, origin)


def _fits_container(value: Any, hint: Any, origin: Any) -> bool:
    if not isinstance(origin, type):
        return True
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if issubclass(origin, Sequence):
        inner = [part for part in get_args(hint) if part is not Ellipsis]
        return isinstance(value, list | tuple) and (len(inner) != 1 or all(_fits(item, inner[0]) for item in value))
    return True


def _word(hint: Any) -> str:
    origin = get_origin(hint) or hint
    if origin in (Union, types.UnionType):
        return " or ".join(_word(part) for part in get_args(hint))
    if origin is Literal:
        return f"one of {listing(map(str, get_args(hint)))}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a mapping"
    if isinstance(origin, type) and origin not in WORDS and issubclass(origin, Sequence):
        inner = [part for part in get_args(hint) if part is not Ellipsis]
        return f"a list (each item {_word(inner[0])})" if inner else "a list"
    return WORDS.get(origin, str(getattr(origin, "__name__", origin)))
