"""The demo's forecast beside what the sample says was measured: a table by day, and one day as a line of blocks. Prints; asks no server."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from statistics import fmean
from zoneinfo import ZoneInfo

from mlsys import sample
from mlsys.cli import tables

PLACE = ZoneInfo("America/Denver")
DAY = timedelta(days=1)
HOURS_OF_A_ROW = 0.25
BLOCKS = " ▁▂▃▄▅▆▇█"
SHOWN_HOURS = range(5, 21)


@dataclass(frozen=True, kw_only=True)
class Quarter:
    """A quarter-hour, in W. ``naive``: what was measured at the same time the day before, the seasonal naive forecast."""

    time: datetime
    forecast: float
    measured: float
    naive: float


def show(output: Path) -> None:
    """``output``: the parquet file of a prediction for the sample's system. Quarter-hours without a measurement are left out."""
    by_day = defaultdict(list)
    for quarter in _quarters(output):
        by_day[quarter.time.date()].append(quarter)
    rows = [(str(day), *_row(quarters)) for day, quarters in by_day.items()]
    if rows:
        rows.append(("all", *_row([quarter for quarters in by_day.values() for quarter in quarters])))
    columns = ("day", "measured kWh", "forecast kWh", "MAE in W", "seasonal naive: MAE in W")
    tables.show_table("", columns, rows, empty="  Nothing was measured on these days.")
    if rows:
        _sketch(*max(by_day.items(), key=lambda item: sum(quarter.measured for quarter in item[1])))
    tables.say(
        "  The sample's weather is a satellite's analysis, made afterwards, in the place of a weather forecast: real errors are larger."
    )


def _quarters(output: Path) -> list[Quarter]:
    import pyarrow.parquet as pq

    predicted = pq.read_table(output, columns=["timestamp", "prediction"]).to_pydict()
    first, last = min(predicted["timestamp"]), max(predicted["timestamp"])
    window = [("timestamp", ">=", first - DAY), ("timestamp", "<=", last)]
    known = pq.read_table(sample.FOLDER / "pv_power.parquet", columns=["timestamp", "power"], filters=window).to_pydict()
    power = {time: value for time, value in zip(known["timestamp"], known["power"], strict=True) if value is not None}
    return [
        Quarter(time=time.astimezone(PLACE), forecast=forecast, measured=power[time], naive=power[time - DAY])
        for time, forecast in zip(predicted["timestamp"], predicted["prediction"], strict=True)
        if time in power and time - DAY in power
    ]


def _row(quarters: Sequence[Quarter]) -> tuple[str, str, str, str]:
    kilo = HOURS_OF_A_ROW / 1000
    return (
        f"{sum(q.measured for q in quarters) * kilo:.1f}",
        f"{sum(q.forecast for q in quarters) * kilo:.1f}",
        f"{fmean(abs(q.forecast - q.measured) for q in quarters):.0f}",
        f"{fmean(abs(q.naive - q.measured) for q in quarters):.0f}",
    )


def _sketch(day: date, quarters: Sequence[Quarter]) -> None:
    most = max(max(q.forecast, q.measured) for q in quarters) or 1.0
    hours = f"{SHOWN_HOURS[0]}:00 to {SHOWN_HOURS[-1] + 1}:00"
    tables.say(f"  The sunniest, {day}, {hours} local time, one block a half-hour, the highest {most:,.0f} W:")
    for name in ("measured", "forecast"):
        tables.say(f"  {name} {_blocks(name, quarters, most)}")


def _blocks(name: str, quarters: Sequence[Quarter], most: float) -> str:
    halves = defaultdict(list)
    for quarter in quarters:
        halves[quarter.time.hour, quarter.time.minute // 30].append(getattr(quarter, name))
    levels = (fmean(halves[hour, half]) if halves[hour, half] else 0.0 for hour in SHOWN_HOURS for half in (0, 1))
    return "".join(BLOCKS[round(max(level, 0.0) / most * (len(BLOCKS) - 1))] for level in levels)
