"""Checks values that users send against an allow-list of base.Parameter: name, type, inclusive range. Knows no model."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

from mlsys import errors
from mlsys.pipelines import base, options

MOST = 20  # unknown names told of


def check(given: Any, known: Mapping[str, base.Parameter], *, field: str) -> dict[str, Any]:
    """The values as plain data. Raises Invalid naming each wrong one as ``field.name``."""
    if not isinstance(given, Mapping):
        raise errors.Invalid({field: "This must be a mapping of names to values."})
    unknown = itertools.islice((name for name in given if name not in known), MOST)
    wrong = {f"{field}.{name}": f"Unknown parameter; {options.nearest(str(name), known)}." for name in unknown}
    for name, value in given.items():
        text = problem(value, known[name]) if name in known else None
        if text:
            wrong[f"{field}.{name}"] = text
    if wrong:
        raise errors.Invalid(wrong)
    return {str(name): value for name, value in given.items()}


def problem(value: Any, parameter: base.Parameter) -> str | None:
    """What is wrong with a value, or None. A whole number is a number; true and false are neither."""
    if parameter.type is bool:
        return None if isinstance(value, bool) else "This must be true or false."
    if parameter.type is str:
        return _text(value, parameter)
    if isinstance(value, bool) or not isinstance(value, int if parameter.type is int else int | float):
        return f"This must be {'a whole number' if parameter.type is int else 'a number'}."
    return _range(value, parameter)


def _text(value: Any, parameter: base.Parameter) -> str | None:
    if not isinstance(value, str) or value != "".join(value.split()):
        return "This must be text without spaces."
    return f"This must be one of {options.listing(parameter.choices)}." if parameter.choices and value not in parameter.choices else None


def _range(value: float, parameter: base.Parameter) -> str | None:
    low = -math.inf if parameter.low is None else parameter.low
    high = math.inf if parameter.high is None else parameter.high
    if isinstance(value, float) and not math.isfinite(value):
        return "This must be a finite number."
    return None if low <= value <= high else f"This must be from {low:g} to {high:g}."
