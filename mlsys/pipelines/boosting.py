"""LightGBM's side of the model ``lightgbm``: rows as a matrix, sets of trees on one binned copy of them, trees as text.

The same rows give the same trees on any number of threads. Knows no features and no calendar.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys import errors
from mlsys.pipelines import base

Floats = npt.NDArray[np.float64]
END = "end of trees\n"


@dataclass(kw_only=True)
class Progress:
    """Counts rounds over all the trees of a model and tells of each, which lets Cancelled end the training. A reporter leaves most of them
    out by itself; None: nobody is told."""

    reporter: base.Reporter | None
    total: int
    done: int = 0

    def callback(self) -> Callable[[Any], None]:
        def tell(state: Any) -> None:
            self.done += 1
            if self.reporter:
                self.reporter.progress("fit", self.done, self.total)

        return tell


@dataclass(frozen=True, kw_only=True)
class Booster:
    """Fits sets of trees to the same rows, which are put into bins once. ``settings``: as LightGBM names them, threads among them."""

    settings: Mapping[str, Any]
    progress: Progress
    binned: Any

    @classmethod
    def of(cls, rows: Floats, categorical: Sequence[int], *, settings: Mapping[str, Any], threads: int, progress: Progress) -> "Booster":
        whole = {**settings, "deterministic": True, "force_row_wise": True, "verbosity": -1, "num_threads": threads}
        binned = lgb.Dataset(rows, np.zeros(len(rows)), categorical_feature=list(categorical), params=whole, free_raw_data=False)
        return cls(settings=whole, progress=progress, binned=binned.construct())

    def fit(self, labels: Floats, *, seed: int, chosen: npt.NDArray[np.int64] | None = None, **changes: Any) -> Any:
        """Trees for ``labels``, float64 (from Arrow they would be read as float32). ``chosen``: positions of the rows to fit to.

        ``changes`` must not touch what the binning depends on.
        """
        data = self.binned if chosen is None else self.binned.subset(chosen).construct()
        data.set_label(labels if chosen is None else labels[chosen])
        return lgb.train({**self.settings, **changes, **_seeds(seed)}, data, callbacks=[self.progress.callback()])


def mean(boosters: Sequence[Any], rows: Floats) -> Floats:
    """The mean of their forecasts."""
    total = np.zeros(len(rows))
    if len(rows):
        for booster in boosters:
            total += booster.predict(rows, num_threads=1)
    return total / len(boosters)


def matrix(features: pd.DataFrame) -> tuple[Floats, list[int]]:
    """Features as float64 (rows x columns), categories as codes (-1: unknown, which LightGBM takes as missing), and which these are."""
    categorical = [i for i, kind in enumerate(features.dtypes) if isinstance(kind, pd.CategoricalDtype)]
    if categorical:
        names = features.columns[categorical]
        features = features.assign(**{name: features[name].cat.codes.astype(np.float64) for name in names})
    return np.ascontiguousarray(features.to_numpy(dtype=np.float64)), categorical


def to_texts(boosters: Sequence[Any]) -> list[str]:
    return [trees(booster.model_to_string()) for booster in boosters]


def from_texts(texts: Sequence[str]) -> list[Any]:
    """Only of bytes whose hash is known: LightGBM can end the whole process on a damaged text. Raises DamagedArtifact."""
    if not all(text.startswith("tree\n") and text.endswith(END) for text in texts):
        raise errors.DamagedArtifact("The stored model holds no trees.")
    return [lgb.Booster(model_str=text) for text in texts]


def trees(text: str) -> str:
    """The trees alone of LightGBM's model text: what follows names the number of threads, and importances in an order of chance."""
    return text.partition(END)[0] + END


def _seeds(seed: int) -> dict[str, int]:
    """Only the seeds that differ between members; ``data_random_seed`` belongs to the shared, binned data."""
    return {"bagging_seed": seed, "feature_fraction_seed": seed + 1, "extra_seed": seed + 2, "objective_seed": seed + 3}
