"""Makes raw quantile forecasts cover what they say: conformalised quantile regression (Romano, Patterson and Candes 2019), by bin.

Raw quantiles of boosted trees are too narrow. By how much shows on rows that the trees were not fitted to: so the rows are split into
folds, every fold is forecast by the trees of the others, and each quantile is shifted until the right share of those rows lies below it, in
each bin of the forecast's height by itself. The trees of all folds are the model; nothing outside the training rows is looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
FOLDS = 4
BLOCKS = 52  # at most: a year in blocks of a week, so that each fold sees all seasons
WEEK, FEWEST_BLOCKS = 7 * 86_400_000_000, 8
ROWS_PER_BIN, MOST_BINS = 400, 10


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """``edges``: heights that part the bins (bins - 1), ``shift``: what is added to each quantile (bins x levels)."""

    edges: Floats
    shift: Floats

    def apply(self, raw: Floats) -> Floats:
        """Raw quantiles (rows x levels), shifted and in order."""
        shifted = raw + self.shift[np.searchsorted(self.edges, _height(raw))]
        shifted.sort(axis=1)
        return shifted

    def to_data(self) -> dict[str, Any]:
        return {"edges": self.edges.tolist(), "shift": self.shift.tolist()}


def from_data(data: dict[str, Any]) -> Calibration:
    return Calibration(edges=np.array(data["edges"], dtype=np.float64), shift=np.array(data["shift"], dtype=np.float64))


def folds(instants: Ints) -> Ints:
    """The fold of each row, by blocks of consecutive time dealt out in turn. ``instants``: microseconds since the epoch.

    Blocks, because neighbouring rows resemble each other: a row whose neighbours were fitted to is not unseen.
    """
    span = int(instants.max() - instants.min()) + 1
    length = max(-(-span // BLOCKS), min(WEEK, span // FEWEST_BLOCKS), 1)
    present = np.unique((instants - instants.min()) // length, return_inverse=True)[1]  # long gaps leave blocks empty
    return np.asarray(present % FOLDS, dtype=np.int64)


def learn(raw: Floats, target: Floats, levels: Sequence[float]) -> Calibration:
    """``raw``: out-of-fold quantile forecasts (rows x levels) of ``target``."""
    bins = int(np.clip(len(raw) // ROWS_PER_BIN, 1, MOST_BINS))
    height = _height(raw)
    edges = np.quantile(height, np.arange(1, bins) / bins)
    of_row = np.searchsorted(edges, height)
    error = target[:, None] - raw
    shift = np.zeros((bins, len(levels)))
    for number in range(bins):
        mine = error[of_row == number]  # none where many heights are equal, and then no row will ever fall in there
        if len(mine):
            shift[number] = [_quantile(mine[:, i], level) for i, level in enumerate(levels)]
    return Calibration(edges=edges, shift=shift)


def _height(raw: Floats) -> Floats:
    return np.asarray(raw.mean(axis=1))


def _quantile(errors: Floats, level: float) -> float:
    """With the correction for few rows: as if one more had come, on the far side."""
    ordered, count = np.sort(errors), len(errors)
    rank = np.floor(level * (count + 1)) if level < 0.5 else np.ceil(level * (count + 1))
    return float(ordered[int(np.clip(rank, 1, count)) - 1])
