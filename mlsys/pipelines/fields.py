"""Reads single values of a definition: each function takes (value, dotted field name), gives plain data back, or raises Invalid."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from mlsys import errors
from mlsys.pipelines import durations
from mlsys.pipelines import issue as issues

DAY = timedelta(days=1)
LONGEST_NAME = 200


def mapping(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise errors.Invalid({field: "This must be a mapping."})
    return dict(value)


def column(value: Any, field: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_NAME:
        raise errors.Invalid({field: "This must be the name of a column."})
    return value


def optional_column(value: Any, field: str) -> str | None:
    return None if value is None else column(value, field)


def columns(value: Any, field: str) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise errors.Invalid({field: "This must be a list of column names."})
    names = [column(name, f"{field}.{i}") for i, name in enumerate(value)]
    if len(set(names)) != len(names):
        raise errors.Invalid({field: "A column is named twice; keep it once."})
    return names


def optional_columns(value: Any, field: str) -> list[str] | None:
    return None if value is None else columns(value, field)


def timezone(value: Any, field: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, TypeError, OSError):  # zoneinfo tells a wrong key in all these ways
        raise errors.Invalid({field: f"There is no time zone {value!r}; write one like UTC or Europe/Amsterdam."}) from None
    return str(value)


def frequency(value: Any, field: str) -> str:
    """A divisor of a day, or whole days: only then do times of day repeat."""
    try:
        length = durations.parse_frequency(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise errors.Invalid({field: _sentence(error, "This must be a frequency such as 15min, 1h or 1D.")}) from None
    if (DAY % length if length < DAY else length % DAY) or length % timedelta(seconds=1):
        raise errors.Invalid({field: "A frequency must divide a day (15min, 1h, 6h) or be whole days (1D, 7D)."})
    return durations.format_frequency(length)


def horizon(value: Any, field: str) -> str:
    try:
        length = durations.parse_duration(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise errors.Invalid({field: _sentence(error, "This must be an ISO 8601 duration such as P1D or PT6H.")}) from None
    if length <= timedelta(0) or (length > DAY and length % DAY):
        raise errors.Invalid({field: "A horizon must be longer than zero and, from a day up, whole days (P1D, P7D)."})
    return durations.format_duration(length)


def issue(value: Any, field: str) -> str | None:
    if value is None:
        return None
    try:
        issues.parse(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise errors.Invalid(
            {field: _sentence(error, "Write a clock time such as D-1T06:00[Europe/Amsterdam], or a lead such as PT24H.")}
        ) from None
    return str(value).strip()


def levels(value: Any, field: str) -> list[float]:
    """Levels of quantiles, ascending."""
    if (
        isinstance(value, str)
        or not isinstance(value, Sequence)
        or any(isinstance(x, bool) or not isinstance(x, int | float) for x in value)
    ):
        raise errors.Invalid({field: "This must be a list of numbers such as [0.1, 0.5, 0.9]; empty: no quantiles."})
    if not all(0.001 <= level <= 0.999 for level in value):
        raise errors.Invalid({field: "A quantile's level lies between 0 and 1 (0.001 to 0.999): 0.1 is what one value in ten is below."})
    found = sorted({round(float(level), 4) for level in value})
    if len(found) != len(value):
        raise errors.Invalid({field: "A level is named twice (they are told apart to four digits); keep it once."})
    return found


def _sentence(error: Exception, otherwise: str) -> str:
    return f"{error}." if isinstance(error, ValueError) else otherwise
