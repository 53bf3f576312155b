"""A line over time as the coordinates of an SVG: numbers in, numbers and labels out. Knows no template and no file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

WIDTH, HEIGHT = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 60, 712, 10, 194
_STEPS = tuple(timedelta(hours=hours) for hours in (1, 3, 6, 12, 24))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """``points``: an SVG polyline's. Ticks: (position in the drawing, label); labels of times are in UTC."""

    points: str
    across: Sequence[tuple[int, str]]
    upward: Sequence[tuple[int, str]]


def line(times: Sequence[datetime], values: Sequence[float]) -> Chart:
    """Aware UTC instants, ascending, and as many finite values; at least one."""
    low, high, step = _scale(min(values), max(values))
    first, span = times[0], (times[-1] - times[0]) or timedelta(hours=1)

    def x(time: datetime) -> int:
        return round(LEFT + (RIGHT - LEFT) * ((time - first) / span))

    def y(value: float) -> int:
        return round(BOTTOM - (BOTTOM - TOP) * ((value - low) / (high - low)))

    return Chart(
        points=" ".join(f"{x(time)},{y(value)}" for time, value in zip(times, values, strict=True)),
        across=[(x(time), label) for time, label in _marks(first, first + span)],
        upward=[(y(low + i * step), f"{low + i * step:,.6g}") for i in range(round((high - low) / step) + 1)],
    )


def _scale(least: float, most: float) -> tuple[float, float, float]:
    """(low, high, step) around the values in about four round steps, zero among them where they are near it."""
    if least > 0 and least < most / 2:
        least = 0.0
    spread = max(most - least, 1e-9 * max(abs(most), abs(least)))
    spread = spread if spread > 1e-100 else 1.0
    size = 10.0 ** math.floor(math.log10(spread / 4))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= spread / 4)
    low = math.floor(least / step) * step
    return low, max(math.ceil(most / step) * step, low + step), step


def _marks(first: datetime, last: datetime) -> list[tuple[datetime, str]]:
    """At most eight round instants between two."""
    span = last - first
    step = next((step for step in _STEPS if span / step <= 8), timedelta(days=math.ceil(span / timedelta(days=8))))
    number = math.ceil((first - _EPOCH) / step)
    marks = []
    while (mark := _EPOCH + number * step) <= last:
        marks.append((mark, f"{mark:%b %Y}" if step.days > 45 else f"{mark:%d %b}" if mark.hour == 0 else f"{mark:%H:%M}"))
        number += 1
    return marks
