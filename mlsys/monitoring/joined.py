"""Issued forecasts beside what became of them, as one table, and the figures of its days and lead times. No database here."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from mlsys.pipelines import actuals, calendar, durations, names, scoring
from mlsys.pipelines.actuals import Series
from mlsys.records import Layout

ActiveOf = Callable[[pd.DatetimeIndex], npt.NDArray[np.bool_]]
ISSUE = "issue"  # when a forecast was issued, or stored where that was earlier: nothing newer was known
ACTIVE = "active"  # whether the row was not known to be 0
NAMED = 100  # runs that a figure names


def join(issued: pa.Table, series: Series, layout: Layout, active_of: ActiveOf) -> pd.DataFrame:
    """``issued``: as kept, every issue. Adds actual, seasonal naive, ISSUE and ACTIVE; in order of timestamp, series and issue."""
    frame = issued.to_pandas(ignore_metadata=True)
    times = pd.DatetimeIndex(frame[names.TIMESTAMP]).as_unit("us").tz_convert("UTC")
    issue = pd.DatetimeIndex(np.minimum(frame[names.ISSUED_AT], frame[names.CREATED_AT])).as_unit("us").tz_convert("UTC")
    actual, naive = np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    keys = list(layout.series_key)
    groups = frame.groupby(keys, sort=False).indices if keys else {(): np.arange(len(frame))}
    for key, at in groups.items():
        key = key if isinstance(key, tuple) else (key,)
        actual[at] = actuals.at(series, key, times[at], layout)
        naive[at] = actuals.naive(series, key, times[at], issue[at], layout)
    added = {names.TIMESTAMP: times, ISSUE: issue, names.ACTUAL: actual, scoring.NAIVE: naive, ACTIVE: active_of(times)}
    found: pd.DataFrame = frame.assign(**added)
    return found


def newest(frame: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Of each timestamp the forecast that was in force: issued last, of these stored last."""
    ordered = frame.sort_values([names.ISSUED_AT, names.CREATED_AT], kind="stable")
    return ordered.drop_duplicates([names.TIMESTAMP, *layout.series_key], keep="last").sort_index()


def scorable(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[scoring.known(_rows(frame))]


def overall(frame: pd.DataFrame) -> dict[str, Any]:
    return {**scoring.overall(_rows(frame)), **_behind(frame)}


def by_day(frame: pd.DataFrame, layout: Layout) -> list[dict[str, Any]]:
    """Figures per local day of the scorable rows."""
    days, place = np.unique(calendar.days(pd.DatetimeIndex(frame[names.TIMESTAMP]), layout.timezone), return_inverse=True)
    return [{"day": day, **one} for day, one in zip(calendar.day_names(days), _grouped(frame, place, len(days)), strict=True)]


def by_lead_time(frame: pd.DataFrame, layout: Layout) -> list[dict[str, Any]]:
    """Figures by the time from the issue to the row."""
    lead = leads(frame)
    longest = max(layout.horizon, timedelta(microseconds=int(lead.max(initial=0))))
    width = scoring.lead_width(longest, layout.frequency)
    numbers, place = np.unique(lead // calendar.microseconds(width), return_inverse=True)
    ends = [[durations.format_duration((int(n) + more) * width) for more in (0, 1)] for n in numbers]
    figures = _grouped(frame, place, len(numbers))
    return [{"lead_time": start, "lead_time_end": end, **one} for (start, end), one in zip(ends, figures, strict=True)]


def leads(frame: pd.DataFrame) -> calendar.Ints:
    """Microseconds from the issue to each row; a row stored after its own time has none."""
    times, issue = (calendar.instants(pd.DatetimeIndex(frame[name])) for name in (names.TIMESTAMP, ISSUE))
    return np.asarray(np.maximum(times - issue, 0), dtype=np.int64)


def late(frame: pd.DataFrame) -> int:
    """Rows that were stored after their own time had come."""
    return int((frame[names.CREATED_AT] > frame[names.TIMESTAMP]).sum())


def nothing() -> pa.Table:
    """No rows, with the columns that there always are."""
    instant = pa.timestamp("us", "UTC")
    types = {names.TIMESTAMP: instant, names.PREDICTION: pa.float64(), names.QUALITY: pa.string(), names.ISSUED_AT: instant}
    types |= {names.CREATED_AT: instant, names.MODEL_VERSION: pa.string(), names.RUN: pa.string()}
    return pa.schema([*types.items(), (names.ACTUAL, pa.float64()), (scoring.NAIVE, pa.float64())]).empty_table()


def table(frame: pd.DataFrame) -> pa.Table:
    """As an answer: without what only helps to compute."""
    return pa.Table.from_pandas(frame.drop(columns=[ISSUE, ACTIVE]), preserve_index=False).replace_schema_metadata(None)


def _grouped(frame: pd.DataFrame, place: calendar.Ints, count: int) -> list[dict[str, Any]]:
    figures = scoring.by_group(_rows(frame), place, count)
    behind = [_behind(part) for _, part in frame.groupby(place)]
    return [{**one, **told} for one, told in zip(figures, behind, strict=True)]


def _behind(frame: pd.DataFrame) -> dict[str, Any]:
    """Whose forecasts a figure rests on."""
    runs: Sequence[str] = list(frame[names.RUN].unique())
    versions = [str(id) for id in frame[names.MODEL_VERSION].dropna().unique()]
    return {"run_ids": [str(id) for id in runs[:NAMED]], "runs": len(runs), "model_version_ids": versions}


def _rows(frame: pd.DataFrame) -> scoring.Rows:
    columns = [str(name) for name in frame if str(name).startswith(names.QUANTILE)]
    quantiles: Mapping[float, Any] = {names.level(name): frame[name].to_numpy(dtype=np.float64) for name in columns}
    return scoring.Rows(
        actual=frame[names.ACTUAL].to_numpy(dtype=np.float64),
        prediction=frame[names.PREDICTION].to_numpy(dtype=np.float64),
        baselines={scoring.NAIVE: frame[scoring.NAIVE].to_numpy(dtype=np.float64)},
        quantiles=quantiles,
        active=frame[ACTIVE].to_numpy(dtype=bool),
    )
