"""What a model must beat to be worth its keep: forecasts that take no skill, fit to the same rows and issued at the same time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys.pipelines import base, build, names
from mlsys.pipelines.featurise import Features
from mlsys.pipelines.stages import Stage

BASELINES = ("seasonal_naive", "climatology")  # types of models


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """``fitted``: by type."""

    fitted: Mapping[str, base.FittedModel]

    @classmethod
    def fit(cls, past: Features, ports: base.Ports) -> Self:
        quiet = Stage(name="baselines", reporter=ports.reporter)
        target = pd.Series(past.target, index=past.frame.index)
        chosen = {name: build.build(base.Model, {"type": name}, ports=ports, field="baselines") for name in BASELINES}
        return cls(fitted={name: model.fit(_frame(past), target, reporter=quiet) for name, model in chosen.items()})

    def predict(self, rows: Features) -> dict[str, npt.NDArray[np.float64]]:
        frame = _frame(rows)
        return {name: model.predict(frame)[names.PREDICTION].to_numpy(dtype=np.float64) for name, model in self.fitted.items()}


def _frame(features: Features) -> pd.DataFrame:
    """With the last comparable value, which a definition without lags has not among its features."""
    return features.frame.assign(**{names.REFERENCE: features.reference})
