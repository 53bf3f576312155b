"""A fitted model with all that a forecast needs beside it: which features, how cleaned, which range. Knows no source, run or file."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from mlsys import errors
from mlsys.pipelines import base, calendar, names, scaling
from mlsys.pipelines.featurise import Features, Floats, Mask, Setup
from mlsys.pipelines.scaling import AS_IT_IS, Scaling

FEWEST_ROWS = 30


@dataclass(frozen=True, kw_only=True)
class Forecaster:
    """``clip``: lowest and highest target seen in training. ``trained``: first and last timestamp (inclusive) and number of rows fitted.

    ``reach``: largest fall and rise since the last comparable day seen in training, for a model that extrapolates; else None.
    """

    setup: Setup
    model: Mapping[str, Any]
    fitted: base.FittedModel
    columns: tuple[str, ...]
    clip: tuple[float, float]
    trained: tuple[datetime, datetime, int]
    reach: tuple[float, float] | None = None
    scaling: Scaling = AS_IT_IS

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Levels of the quantiles that are forecast beside the prediction, ascending."""
        return tuple(self.model.get("quantiles") or ())

    def predict(self, features: Features) -> pd.DataFrame:
        """Columns ``prediction`` and, as many as the model's definition asks for, ``quantile_P10`` .. in order of level; index: that of the
        rows. All finite: 0 where a row is inactive, else within the range seen in training (or within reach of the last value); quantiles
        never cross.
        """
        if tuple(features.frame.columns) != self.columns:
            raise errors.BadData("The data gives other features than the model was trained on; train a new version on this source.")
        columns = [names.PREDICTION, *(names.quantile(level) for level in self.quantiles)]
        found = np.zeros((len(features), len(columns)))
        active = features.active
        if active.any():
            rows, size = self._rows(features)
            low, high = self._limits(features.reference[active])
            raw = self.fitted.predict(rows)[columns].to_numpy(dtype=np.float64) * size[:, None]
            found[active] = np.clip(raw, low[:, None], high[:, None])
        if not np.isfinite(found).all():
            raise errors.BadData(f"The model gave no number for {np.sum(~np.isfinite(found).all(axis=1))} of {len(found)} rows.")
        found[:, 1:].sort(axis=1)
        return pd.DataFrame(found, columns=columns, index=features.frame.index)

    def contributions(self, features: Features) -> pd.DataFrame | None:
        """Of the active rows, as FittedModel.contributions() gives them, in the target's unit."""
        rows, size = self._rows(features)
        found = self.fitted.contributions(rows)
        return None if found is None else found.mul(size, axis=0)

    def _rows(self, features: Features) -> tuple[pd.DataFrame, Floats]:
        """The active rows as the model knows them, and the unit of each."""
        chosen: slice | Mask = slice(None) if features.active.all() else features.active
        size = self.scaling.of(features.keys[chosen])
        return self.scaling.frame(features.frame[chosen], size), size

    def _limits(self, last: Floats) -> tuple[Floats, Floats]:
        """Lowest and highest forecast of each row. What never was negative (or never positive) in training stays so."""
        low, high = (np.full(len(last), bound) for bound in self.clip)
        if self.reach is not None:
            low, high = np.fmin(low, last + self.reach[0]), np.fmax(high, last + self.reach[1])
            low = np.maximum(low, 0.0) if self.clip[0] >= 0 else low
            high = np.minimum(high, 0.0) if self.clip[1] <= 0 else high
        return low, high


def fit(
    features: Features, *, setup: Setup, recipe: Mapping[str, Any], model: base.Model, reporter: base.Reporter, threads: int
) -> Forecaster:
    """Fit ``model`` to the active rows. ``recipe``: the definition's ``model`` mapping. Raises TooFewRows."""
    fitting = features.take(features.active) if not features.active.all() else features
    if len(fitting) < FEWEST_ROWS:
        raise errors.TooFewRows(f"Only {len(fitting)} rows to fit a model to; at least {FEWEST_ROWS} are needed: widen the window.")
    scaled = scaling.learn(fitting)
    rows = scaled.apply(fitting)
    fitted = model.fit(rows.frame, pd.Series(rows.target, index=rows.frame.index), reporter=reporter, threads=threads)
    change = fitting.target - fitting.reference
    change = np.append(change[np.isfinite(change)], 0.0)
    times = calendar.utc(calendar.instants(pd.DatetimeIndex(features.frame.index)))
    return Forecaster(
        setup=setup,
        model=recipe,
        fitted=fitted,
        columns=tuple(features.frame.columns),
        clip=(float(features.target.min()), float(features.target.max())),
        trained=(times.min().to_pydatetime(), times.max().to_pydatetime(), len(fitting)),
        reach=(float(change.min()), float(change.max())) if fitted.extrapolates else None,
        scaling=scaled,
    )
