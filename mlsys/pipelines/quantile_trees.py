"""Quantiles by trees: a small set for each level and fold, and the calibration that their forecasts of the other folds ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlsys.pipelines import boosting, conformal, forms
from mlsys.pipelines.boosting import Floats

SMALLER = {
    "num_iterations": 1 / 3,
    "learning_rate": 2.0,
    "num_leaves": 1 / 2,
}  # a quantile has less to tell than the median, and overfits sooner


@dataclass(frozen=True, kw_only=True)
class QuantileTrees:
    """``sets``: for each fold what its trees learnt (a form) and the trees of each level; the forecast is their mean, shifted."""

    levels: tuple[float, ...]
    sets: Sequence[tuple[str, Sequence[Any]]]
    calibration: conformal.Calibration

    def predict(self, rows: Floats, base: Floats) -> Floats:
        """Rows x levels, in order. ``base``: what changes count from."""
        raw = np.mean([_raw(form, boosters, rows, base) for form, boosters in self.sets], axis=0)
        return self.calibration.apply(raw)

    def to_data(self) -> dict[str, Any]:
        sets = [{"form": form, "trees": boosting.to_texts(boosters)} for form, boosters in self.sets]
        return {"levels": list(self.levels), "sets": sets, "calibration": self.calibration.to_data()}


def from_data(data: Mapping[str, Any]) -> QuantileTrees:
    """Raises DamagedArtifact."""
    sets = [(one["form"], boosting.from_texts(one["trees"])) for one in data["sets"]]
    return QuantileTrees(levels=tuple(data["levels"]), sets=sets, calibration=conformal.from_data(data["calibration"]))


def smaller(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of quantile trees, from those of the point forecast."""
    return {
        "num_iterations": max(1, round(settings["num_iterations"] * SMALLER["num_iterations"])),
        "learning_rate": min(1.0, settings["learning_rate"] * SMALLER["learning_rate"]),
        "num_leaves": max(2, round(settings["num_leaves"] * SMALLER["num_leaves"])),
    }


def fit(
    booster: boosting.Booster,
    rows: Floats,
    labels: Floats,
    base: Floats,
    *,
    instants: conformal.Ints,
    levels: Sequence[float],
    form: str,
    seed: int,
) -> QuantileTrees:
    """``instants``: microseconds of each row; ``form``: as for the point forecast, taken in turn by the folds."""
    fold = conformal.folds(instants)
    raw = np.zeros((len(rows), len(levels)))
    sets = []
    for number, learnt in enumerate(forms.members(form, conformal.FOLDS)):
        others, mine = np.flatnonzero(fold != number), fold == number
        target = labels if learnt == forms.LEVEL else labels - base
        options = {"objective": "quantile", **smaller(booster.settings), "chosen": others, "seed": seed + number}
        boosters = [booster.fit(target, alpha=level, **options) for level in levels]
        raw[mine] = _raw(learnt, boosters, rows[mine], base[mine])
        sets.append((learnt, boosters))
    return QuantileTrees(levels=tuple(levels), sets=sets, calibration=conformal.learn(raw, labels, levels))


def _raw(form: str, boosters: Sequence[Any], rows: Floats, base: Floats) -> Floats:
    found = np.column_stack([boosting.mean([booster], rows) for booster in boosters])
    return found if form == forms.LEVEL else found + base[:, None]
