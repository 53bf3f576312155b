"""Durations as text: ISO 8601 (``P1D``, ``PT6H``) and sampling frequencies (``15min``, ``1h``, ``1D``). Nothing here knows a calendar."""

import re
from datetime import timedelta

_ISO = re.compile(
    r"(?P<sign>-?)P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?(?:T(?=\d)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?"
)
_FREQUENCY = re.compile(r"(?P<count>\d*)\s*(?P<unit>[A-Za-z]+)")
_UNITS = {
    "s": timedelta(seconds=1), "sec": timedelta(seconds=1), "min": timedelta(minutes=1), "t": timedelta(minutes=1),
    "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1),
}  # fmt: skip


def parse_duration(text: str) -> timedelta:
    """``P1D``, ``PT6H``, ``-P365D`` -> timedelta. Raises ValueError (years and months have no fixed length and are refused)."""
    found = _ISO.fullmatch(text.strip())
    parts = {} if found is None else {k: int(v) for k, v in found.groupdict().items() if v and k != "sign"}
    if found is None or not parts:
        raise ValueError(f"{text!r} is not an ISO 8601 duration such as P1D or PT6H")
    try:
        length = timedelta(**parts)
    except OverflowError:
        raise ValueError(f"{text!r} is too long") from None
    return -length if found["sign"] else length


def format_duration(length: timedelta) -> str:
    """The inverse of parse_duration: ``P1D``, ``PT6H``, ``P1DT12H``, ``PT0S``."""
    sign, length = ("-", -length) if length < timedelta(0) else ("", length)
    hours, rest = divmod(length.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    clock = "".join(f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if n)
    days = f"{length.days}D" if length.days else ""
    return f"{sign}P{days}{'T' + clock if clock else ''}" if days or clock else "PT0S"


def parse_frequency(text: str) -> timedelta:
    """``15min``, ``1h``, ``h``, ``1D``, or an ISO duration -> timedelta above zero. Raises ValueError."""
    if text.startswith("P"):
        length = parse_duration(text)
    else:
        found = _FREQUENCY.fullmatch(text.strip())
        unit = _UNITS.get(found["unit"].lower()) if found else None
        if found is None or unit is None:
            raise ValueError(f"{text!r} is not a frequency such as 15min, 1h or 1D")
        try:
            length = int(found["count"] or 1) * unit
        except OverflowError:
            raise ValueError(f"{text!r} is too long") from None
    if length <= timedelta(0):
        raise ValueError("must be longer than zero")
    return length


def format_frequency(length: timedelta) -> str:
    """Shortest exact text: ``1D``, ``1h``, ``15min``, ``30s``."""
    seconds = int(length.total_seconds())
    for name, size in (("D", 86400), ("h", 3600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{name}"
    return f"{seconds}s"
