"""Scores forecasts of a hold-out day by day. Gives the gate its raw material as JSON-able data, and decides nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys import errors
from mlsys.pipelines import calendar, names, scoring
from mlsys.pipelines.featurise import Features
from mlsys.records import Layout

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A champion, present or past, at the hold-out: its forecasts, or None and why it cannot be compared."""

    model_version_id: str
    forecast: Floats | None
    note: str = ""


def evaluate(
    holdout: Features,
    forecast: pd.DataFrame,
    naive: Floats,
    *,
    rivals: Sequence[Rival],
    expected: calendar.Ints,
    start: datetime,
    end: datetime,
    day_coverage: float,
) -> dict[str, Any]:
    """Mean absolute errors per local day, of candidate, seasonal naive and (where comparable) champions, with the rows each day rests on.

    ``forecast``: as Forecaster.predict() gives it. ``rivals``: the champion, and those before it. ``expected``: local day of every row that
    the hold-out, [start, end), should hold; a day with less than ``day_coverage`` of its rows is not scored (what is left of an absent day
    may be night alone). ``target_level`` is the mean of |target|; ``quantiles``: rows that are not known to be 0, and for each level the
    share of them at or below the forecast.
    """
    day, of_day = np.unique(holdout.day, return_inverse=True)
    count = np.bincount(of_day)
    due = np.array([np.count_nonzero(expected == one) for one in day])
    scored = count >= day_coverage * due
    candidate = forecast[names.PREDICTION].to_numpy()

    def per_day(values: Floats | None) -> list[float] | None:
        if values is None:
            return None
        wrong = np.bincount(of_day, weights=np.abs(values - holdout.target))
        return [float(x) for x in (wrong / count)[scored]]

    champion = rivals[0] if rivals else None
    return {
        "holdout": {"start": start.isoformat(), "end": end.isoformat()},
        "days": calendar.day_names(day[scored]),
        "rows": [int(n) for n in count[scored]],
        "expected_rows": len(expected),
        "candidate": per_day(candidate),
        "naive": per_day(naive),
        "champion": per_day(champion.forecast) if champion else None,
        "champion_id": champion.model_version_id if champion else None,
        "champion_note": champion.note if champion else "",
        "earlier": [{"model_version_id": one.model_version_id, "errors": per_day(one.forecast), "note": one.note} for one in rivals[1:]],
        "bias": float(np.mean(candidate - holdout.target)),
        "target_level": float(np.mean(np.abs(holdout.target))),
        "quantiles": _quantiles(holdout, forecast),
    }


def _quantiles(holdout: Features, forecast: pd.DataFrame) -> dict[str, Any]:
    """``below``: share of the rows at or below the forecast, ``under``: below it (less, where the target repeats: zeros, counts);
    ``by_day``: rows of each day, and how many of them are at or below."""
    rows = holdout.active
    target, (_, of_day) = holdout.target[rows], np.unique(holdout.day[rows], return_inverse=True)
    levels = {name: forecast[name].to_numpy()[rows] for name in forecast.columns if name.startswith(names.QUANTILE) and rows.any()}
    return {
        "rows": len(target),
        "below": {name: float(np.mean(target <= values)) for name, values in levels.items()},
        "under": {name: float(np.mean(target < values)) for name, values in levels.items()},
        "by_day": {
            "rows": np.bincount(of_day).tolist(),
            **{name: np.bincount(of_day, weights=target <= values).astype(int).tolist() for name, values in levels.items()},
        },
    }


def metrics(holdout: Features, forecast: pd.DataFrame, naive: Floats, rival: Rival | None) -> dict[str, float]:
    """Over all rows of the hold-out: mae, rmse, bias in the target's unit; skill = 1 - mae / naive_mae; pinball and coverage of its
    quantiles."""
    candidate = forecast[names.PREDICTION].to_numpy(dtype=np.float64)
    error = candidate - holdout.target
    mae, naive_mae = float(np.mean(np.abs(error))), float(np.mean(np.abs(naive - holdout.target)))
    found = {
        "mae": mae,
        "rmse": float(np.sqrt(np.mean(error**2))),
        "bias": float(np.mean(error)),
        "naive_mae": naive_mae,
        "rows": float(len(error)),
    }
    if naive_mae > 0:
        found["skill"] = 1 - mae / naive_mae
    if rival and rival.forecast is not None:
        found["champion_mae"] = float(np.mean(np.abs(rival.forecast - holdout.target)))
    found |= _of_quantiles(holdout, forecast, candidate)
    if not np.isfinite(list(found.values())).all():
        raise errors.BadData(
            "The target's values are too large to be scored: their errors overflow. Check its unit and the largest values."
        )
    return found


def _of_quantiles(holdout: Features, forecast: pd.DataFrame, candidate: Floats) -> dict[str, float]:
    columns = [name for name in map(str, forecast.columns) if name.startswith(names.QUANTILE)]
    levels = {names.level(name): forecast[name].to_numpy(dtype=np.float64) for name in columns}
    rows = scoring.Rows(actual=holdout.target, prediction=candidate, baselines={}, quantiles=levels, active=holdout.active)
    figures = scoring.overall(rows) if levels else {}
    return {name: float(figures[name]) for name in ("pinball", "coverage") if figures.get(name) is not None}


def holdout_start(days: calendar.Ints, settings: Mapping[str, Any], layout: Layout) -> datetime:
    """Local midnight at which the hold-out begins: the last ``holdout_days``, or ``holdout_fraction`` of a shorter span, but enough days to
    judge by (``min_days`` and a few for gaps) as long as that leaves half the span to fit to. ``days``: local day of each usable row.

    Where rows are more than a day apart these settings count rows: of weekly data 28 days would hold four.
    """
    first, last = int(days.min()), int(days.max())
    span = last - first + 1
    apart = max(1, -(-layout.frequency // timedelta(days=1)))
    enough = int(np.ceil(settings["min_days"] * 1.15))
    length = min(settings["holdout_days"] * apart, max(int(span * settings["holdout_fraction"]), enough * apart), max(span // 2, 1))
    start: datetime = calendar.midnights(np.array([last - length + 1]), layout.timezone)[0].to_pydatetime()
    return start
