"""How wrong forecasts were, over groups of rows (days, lead times, months): errors, skill against baselines, how good the quantiles are.

Knows no source and no model: arrays in, JSON-able figures out. Errors are forecast minus actual, in the target's unit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from mlsys.pipelines import names

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
NAIVE = "seasonal_naive"
MOST_LEADS = 48
LEADS = (
    timedelta(minutes=1),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=3),
    timedelta(hours=6),
    timedelta(days=1),
    timedelta(days=7),
    timedelta(days=28),
)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Forecasts with their actuals, all arrays of one length. ``baselines`` and ``quantiles`` (by level) may hold NaN: not forecast.

    ``active``: False for rows known to be 0 (night), which every quantile hits: they say nothing about quantiles.
    """

    actual: Floats
    prediction: Floats
    baselines: Mapping[str, Floats]
    quantiles: Mapping[float, Floats]
    active: Mask

    def __len__(self) -> int:
        return len(self.actual)


def known(rows: Rows) -> Mask:
    """Which rows can be scored."""
    return np.isfinite(rows.actual) & np.isfinite(rows.prediction)


def take(rows: Rows, chosen: Mask) -> Rows:
    return Rows(
        actual=rows.actual[chosen],
        prediction=rows.prediction[chosen],
        baselines={name: values[chosen] for name, values in rows.baselines.items()},
        quantiles={level: values[chosen] for level, values in rows.quantiles.items()},
        active=rows.active[chosen],
    )


def overall(rows: Rows) -> dict[str, Any]:
    """Figures over all rows; None for each where there is no row."""
    return by_group(rows, np.zeros(len(rows), dtype=np.int64), 1)[0]


def by_group(rows: Rows, group: Ints, count: int) -> list[dict[str, Any]]:
    """Figures of the rows of each group 0 .. count - 1. All of ``rows`` must be known.

    ``skill`` = 1 - mae / mae of the baseline, on the rows that the baseline forecasts too; the one on top is against seasonal naive.
    ``coverage``: share of actuals from the lowest to the highest quantile; ``pinball``: mean over all quantiles (Koenker & Bassett 1978);
    both of the ``active_rows``.
    """
    size = np.bincount(group, minlength=count)
    mine = _errors(rows.prediction - rows.actual, group, count)
    active = np.bincount(group[rows.active], minlength=count)
    found: list[dict[str, Any]] = [
        {"rows": int(n), "active_rows": int(active[i]), **{name: values[i] for name, values in mine.items()}} for i, n in enumerate(size)
    ]
    against = {name: _against(rows, values, group, count) for name, values in rows.baselines.items()}
    bands = _quantiles(rows, group, count)
    for i, one in enumerate(found):
        one["baselines"] = {name: figures[i] for name, figures in against.items()}
        one["skill"] = one["baselines"].get(NAIVE, {}).get("skill")
        one |= bands[i]
    return found


def lead_width(horizon: timedelta, frequency: timedelta) -> timedelta:
    """The shortest width that cuts a horizon into at most MOST_LEADS lead times: the frequency, or a round multiple of it."""
    fitting = [width for width in (frequency, *LEADS) if width >= frequency and width % frequency == timedelta(0)]
    return next((width for width in sorted(fitting) if horizon / width <= MOST_LEADS), max(fitting))


def _mean(values: Floats, group: Ints, count: int) -> list[float | None]:
    """Per group over what is no NaN; None where there is nothing."""
    there = np.isfinite(values)
    size = np.bincount(group[there], minlength=count)
    total = np.bincount(group[there], weights=values[there], minlength=count)
    return [float(t / n) if n else None for t, n in zip(total, size, strict=True)]


def _errors(error: Floats, group: Ints, count: int) -> dict[str, list[float | None]]:
    squares = _mean(error**2, group, count)
    return {
        "mae": _mean(np.abs(error), group, count),
        "rmse": [None if value is None else float(np.sqrt(value)) for value in squares],
        "bias": _mean(error, group, count),
    }


def _against(rows: Rows, baseline: Floats, group: Ints, count: int) -> list[dict[str, Any]]:
    there = np.isfinite(baseline)
    theirs = _errors(np.where(there, baseline - rows.actual, np.nan), group, count)
    mine = _mean(np.where(there, np.abs(rows.prediction - rows.actual), np.nan), group, count)
    size = np.bincount(group[there], minlength=count)
    found: list[dict[str, Any]] = []
    for i in range(count):
        one: dict[str, Any] = {"rows": int(size[i]), **{name: values[i] for name, values in theirs.items()}}
        one["skill"] = 1 - mine[i] / one["mae"] if mine[i] is not None and one["mae"] else None
        found.append(one)
    return found


def _quantiles(rows: Rows, group: Ints, count: int) -> list[dict[str, Any]]:
    levels = sorted(rows.quantiles)
    if not levels:
        return [{"quantiles": [], "coverage": None, "nominal_coverage": None, "pinball": None} for _ in range(count)]
    parts = {}
    for level in levels:
        over = np.where(rows.active, rows.actual - rows.quantiles[level], np.nan)
        below = _mean(np.where(np.isnan(over), np.nan, over <= 0), group, count)
        parts[level] = below, _mean(np.maximum(level * over, (level - 1) * over), group, count)
    low, high = rows.quantiles[levels[0]], rows.quantiles[levels[-1]]
    within = np.where(np.isnan(low) | np.isnan(high) | ~rows.active, np.nan, (rows.actual >= low) & (rows.actual <= high))
    coverage = _mean(within, group, count) if len(levels) > 1 else [None] * count
    return [_band(i, parts, coverage[i], levels) for i in range(count)]


def _band(i: int, parts: Mapping[float, Any], coverage: float | None, levels: Sequence[float]) -> dict[str, Any]:
    each = [
        {"name": names.quantile(level), "level": level, "share_below": below[i], "pinball": loss[i]}
        for level, (below, loss) in parts.items()
    ]
    losses = [one["pinball"] for one in each if one["pinball"] is not None]
    nominal = round(levels[-1] - levels[0], 8) if len(levels) > 1 else None
    return {"quantiles": each, "coverage": coverage, "nominal_coverage": nominal, "pinball": sum(losses) / len(losses) if losses else None}
