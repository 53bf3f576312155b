"""What each day of the training data was like, in a few numbers. Kept with a model, so that a later training sees whether history was
rewritten: labels scaled or shifted, columns mixed up. Sums only, whatever the number of series; judged in checks/revised.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys.pipelines import calendar
from mlsys.records import Layout, Window

Floats = npt.NDArray[np.float64]
DIGITS = 8  # far finer than any bound on a change, and it halves the text


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Arrays of one length, one entry for each local day with a target: ``days`` (day numbers), ``rows`` with a target, the target's sum
    (``total``) and that of its absolute values (``size``). ``cosine`` and ``sine``: sums of the target turned by the time of day, one turn
    a day, so that their angle says when in the day it comes. ``exogenous``: each column's mean, NaN on days without one.
    """

    days: calendar.Ints
    rows: calendar.Ints
    total: Floats
    size: Floats
    cosine: Floats
    sine: Floats
    exogenous: Mapping[str, Floats]


def of(series: Sequence[pd.DataFrame], layout: Layout, window: Window) -> Profile:
    """Of the rows of ``window``. Each frame: one series by sorted UTC timestamp."""
    indexes = [pd.DatetimeIndex(one.index) for one in series]
    chosen = [calendar.inside(index, window) for index in indexes]
    days = np.concatenate([calendar.days(index[mask], layout.timezone) for index, mask in zip(indexes, chosen, strict=True)])
    instants = np.concatenate([calendar.instants(index[mask]) for index, mask in zip(indexes, chosen, strict=True)])
    names = [layout.target, *(layout.exogenous or ())]
    values = np.concatenate([one[names].to_numpy(dtype=np.float64)[mask] for one, mask in zip(series, chosen, strict=True)])
    day, place = np.unique(days, return_inverse=True)
    turn = 2 * np.pi * (instants % calendar.DAY_US) / calendar.DAY_US
    target = np.nan_to_num(values[:, 0])

    def added(weights: Floats) -> Floats:
        return np.bincount(place, weights=weights, minlength=len(day)).astype(np.float64)

    count = [added(~np.isnan(column)) for column in values.T]
    means = [
        np.divide(added(np.nan_to_num(c)), n, out=np.full(len(day), np.nan), where=n > 0) for c, n in zip(values.T, count, strict=True)
    ]
    kept = count[0] > 0
    sums = {"total": target, "size": np.abs(target), "cosine": target * np.cos(turn), "sine": target * np.sin(turn)}
    return Profile(
        days=day[kept],
        rows=count[0][kept].astype(np.int64),
        **{name: added(weights)[kept] for name, weights in sums.items()},
        exogenous={name: mean[kept] for name, mean in zip(names[1:], means[1:], strict=True)},
    )


def to_data(profile: Profile) -> dict[str, Any]:
    """As JSON-able data; a missing mean is null."""
    plain = {name: _rounded(getattr(profile, name)) for name in ("total", "size", "cosine", "sine")}
    exogenous = {name: _rounded(mean) for name, mean in profile.exogenous.items()}
    return {"days": profile.days.tolist(), "rows": profile.rows.tolist(), **plain, "exogenous": exogenous}


def from_data(data: Mapping[str, Any]) -> Profile:
    """The inverse of to_data()."""
    return Profile(
        days=np.array(data["days"], dtype=np.int64),
        rows=np.array(data["rows"], dtype=np.int64),
        **{name: np.array(data[name], dtype=np.float64) for name in ("total", "size", "cosine", "sine")},
        exogenous={name: np.array(mean, dtype=np.float64) for name, mean in data["exogenous"].items()},
    )


def _rounded(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(f"{value:.{DIGITS}g}") for value in values.tolist()]
