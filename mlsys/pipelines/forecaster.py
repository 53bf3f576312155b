"""A fitted model with all that a forecast needs beside it: which features, how cleaned, which range. Knows no source, run or file."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys import errors
from mlsys.pipelines import base, calendar
from mlsys.pipelines.featurise import Features, Setup
from mlsys.pipelines.names import PREDICTION

FEWEST_ROWS = 30


@dataclass(frozen=True, kw_only=True)
class Forecaster:
    """``clip``: lowest and highest target seen in training. ``trained``: first and last timestamp (inclusive) and number of rows fitted."""

    setup: Setup
    model: Mapping[str, Any]
    fitted: base.FittedModel
    columns: tuple[str, ...]
    clip: tuple[float, float]
    trained: tuple[datetime, datetime, int]

    def predict(self, features: Features) -> npt.NDArray[np.float64]:
        """One finite number per row: 0 where the row is inactive, else the model's forecast within the range seen in training."""
        if tuple(features.frame.columns) != self.columns:
            raise errors.BadData("The data gives other features than the model was trained on; train a new version on this source.")
        found = np.zeros(len(features))
        active = features.active
        if active.any():
            rows = features.frame if active.all() else features.frame[active]
            found[active] = np.clip(self.fitted.predict(rows)[PREDICTION].to_numpy(dtype=np.float64), *self.clip)
        if not np.isfinite(found).all():
            raise errors.BadData(f"The model gave no number for {np.sum(~np.isfinite(found))} of {len(found)} rows.")
        return found


def fit(
    features: Features, *, setup: Setup, recipe: Mapping[str, Any], model: base.Model, reporter: base.Reporter, threads: int
) -> Forecaster:
    """Fit ``model`` to the active rows. ``recipe``: the definition's ``model`` mapping. Raises TooFewRows."""
    fitting = features.take(features.active) if not features.active.all() else features
    if len(fitting) < FEWEST_ROWS:
        raise errors.TooFewRows(f"Only {len(fitting)} rows to fit a model to; at least {FEWEST_ROWS} are needed: widen the window.")
    fitted = model.fit(fitting.frame, pd.Series(fitting.target, index=fitting.frame.index), reporter=reporter, threads=threads)
    times = calendar.utc(calendar.instants(pd.DatetimeIndex(features.frame.index)))
    return Forecaster(
        setup=setup,
        model=recipe,
        fitted=fitted,
        columns=tuple(features.frame.columns),
        clip=(float(features.target.min()), float(features.target.max())),
        trained=(times.min().to_pydatetime(), times.max().to_pydatetime(), len(fitting)),
    )
