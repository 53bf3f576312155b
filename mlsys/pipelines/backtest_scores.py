"""What a backtest tells: figures over all rows, by lead time, by month and by series, and which steps could not be forecast."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from mlsys import errors
from mlsys.clock import rfc3339
from mlsys.pipelines import calendar, durations, names, scoring
from mlsys.pipelines.backtest_rival import PRODUCTION
from mlsys.pipelines.baselines import BASELINES
from mlsys.records import BacktestSpec, DataUsed, Layout

ACTIVE = "active"  # column that is not kept
TOLD = 100  # skipped steps, and series, that are named


def result(
    spec: BacktestSpec,
    rows: pd.DataFrame,
    *,
    layout: Layout,
    failed: Mapping[datetime, errors.BadData],
    used: DataUsed,
    rival: Mapping[str, Any],
) -> dict[str, Any]:
    """``rows``: as kept. JSON-able."""
    forecast = {pd.Timestamp(at).to_pydatetime() for at in rows[names.ISSUED_AT].unique()}
    left = [step.start for step in spec.steps if step.start not in forecast]
    known = scored(rows)
    chosen = scoring.known(known)
    known, frame = scoring.take(known, chosen), rows[chosen]
    return {
        "steps": {"total": len(spec.steps), "forecast": len(forecast), "skipped": len(left)},
        "fits": -(-len(spec.steps) // spec.refit) if spec.refit else 1,
        "horizon": durations.format_duration(layout.horizon),
        "rows": len(rows),
        "substituted_rows": int((rows[names.QUALITY] == "substituted").sum()),
        "overall": scoring.overall(known),
        "by_lead_time": by_lead_time(known, frame, layout),
        "by_month": _by_month(known, frame, layout),
        "by_series": _by_series(known, frame, layout),
        "production": dict(rival),
        "skipped": [_skipped(at, failed.get(at)) for at in left[:TOLD]],
        "data": {"rows": used.rows, "start": _told(used.start), "end": _told(used.end), "sha256": used.sha256},
    }


def scored(rows: pd.DataFrame) -> scoring.Rows:
    columns = [str(name) for name in rows if str(name).startswith(names.QUANTILE)]
    quantiles = {names.level(name): rows[name].to_numpy(dtype=np.float64) for name in columns}
    return scoring.Rows(
        actual=rows[names.ACTUAL].to_numpy(dtype=np.float64),
        prediction=rows[names.PREDICTION].to_numpy(dtype=np.float64),
        baselines={name: rows[name].to_numpy(dtype=np.float64) for name in (*BASELINES, PRODUCTION) if name in rows},
        quantiles=quantiles,
        active=rows[ACTIVE].to_numpy(dtype=bool),
    )


def by_lead_time(known: scoring.Rows, frame: pd.DataFrame, layout: Layout) -> list[dict[str, Any]]:
    """Figures by the time from the issue to the row, in steps of scoring.lead_width()."""
    times, issued = (calendar.instants(pd.DatetimeIndex(frame[name])) for name in (names.TIMESTAMP, names.ISSUED_AT))
    lead = times - issued
    longest = max(layout.horizon, timedelta(microseconds=int(lead.max(initial=0))))
    width = scoring.lead_width(longest, layout.frequency)
    found, place = np.unique(lead // calendar.microseconds(width), return_inverse=True)
    figures = scoring.by_group(known, place, len(found))
    return [{**lead_time(int(n), width), **one} for n, one in zip(found, figures, strict=True)]


def lead_time(number: int, width: timedelta) -> dict[str, str]:
    """From ``lead_time`` on, up to ``lead_time_end``, which is excluded."""
    return {"lead_time": durations.format_duration(number * width), "lead_time_end": durations.format_duration((number + 1) * width)}


def _by_month(known: scoring.Rows, frame: pd.DataFrame, layout: Layout) -> list[dict[str, Any]]:
    wall = calendar.wall(pd.DatetimeIndex(frame[names.TIMESTAMP]), layout.timezone)
    months, place = np.unique(wall.astype("datetime64[us]").astype("datetime64[M]"), return_inverse=True)
    return [{"month": str(month), **one} for month, one in zip(months, scoring.by_group(known, place, len(months)), strict=True)]


def _by_series(known: scoring.Rows, frame: pd.DataFrame, layout: Layout) -> list[dict[str, Any]]:
    """The first TOLD series."""
    if not layout.series_key:
        return []
    groups = frame.groupby(list(layout.series_key), sort=True)
    figures = scoring.by_group(known, np.asarray(groups.ngroup(), dtype=np.int64), groups.ngroups)
    keys = [key if isinstance(key, tuple) else (key,) for key, _ in groups]
    told = [dict(zip(layout.series_key, (_plain(part) for part in key), strict=True)) for key in keys[:TOLD]]
    return [{"series": key, **one} for key, one in zip(told, figures, strict=False)]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _skipped(at: datetime, error: errors.BadData | None) -> dict[str, str]:
    error = error or errors.EmptyWindow("There were no rows to forecast from.")
    return {"start": rfc3339(at), "kind": error.kind, "reason": error.message}


def _told(at: datetime | None) -> str | None:
    return rfc3339(at) if at else None
