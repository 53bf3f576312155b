"""The version in production beside a backtest: forecasts of the steps that it has not seen, from the same knowledge."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys import errors
from mlsys.pipelines import artifact, base, definition, durations, featurise, names
from mlsys.pipelines.backtest_data import Raw
from mlsys.pipelines.featurise import Features
from mlsys.pipelines.forecaster import Forecaster
from mlsys.records import BacktestSpec

PRODUCTION = "production"  # column of its forecasts
NONE = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Rival:
    """``model`` None: there is none to compare with, ``note`` says why. ``seen``: the last timestamp that it was trained on."""

    model_version_id: str | None = None
    model: Forecaster | None = None
    note: str = ""

    @classmethod
    def of(cls, spec: BacktestSpec, ports: base.Ports) -> Self:
        if spec.production is None:
            return cls(note="No version is in production.")
        id, sha256 = spec.production
        try:
            model = artifact.from_bytes(ports.blobs.get(sha256), ports=ports)
        except (errors.DamagedArtifact, errors.NotFound, errors.Invalid) as error:
            return cls(model_version_id=id, note=error.message)
        note = _unfit(model, spec)
        return cls(model_version_id=id, model=None if note else model, note=note)

    @property
    def lookback(self) -> timedelta:
        return self.model.setup.lookback() if self.model else NONE

    @property
    def lookahead(self) -> timedelta:
        return self.model.setup.lookahead() if self.model else NONE

    def predict(self, raw: Raw, features: Features, issued_of: featurise.IssuedOf) -> dict[str, npt.NDArray[np.float64]]:
        """Its forecasts of the rows of ``features``, NaN for steps that it was trained on."""
        if self.model is None:
            return {}
        found = np.full(len(features), np.nan)
        unseen = np.asarray(features.issued > pd.Timestamp(self._seen))
        if unseen.any():
            series, _ = featurise.clean(raw, self.model.setup)
            own = featurise.featurise(series, self.model.setup, _same_rows(features.take(unseen)), issued_of)
            found[unseen] = self.model.predict(own)[names.PREDICTION].to_numpy(dtype=np.float64)
        return {PRODUCTION: found}

    def told(self, rows: pd.DataFrame) -> dict[str, Any]:
        """What a result says of it; its figures are those of the baseline of that name."""
        seen = 0 if self.model is None else int(rows[PRODUCTION].isna().sum())
        note = self.note or (f"{seen} rows were issued before the end of its training, {self._seen:%Y-%m-%d %H:%M} UTC." if seen else "")
        return {"model_version_id": self.model_version_id, "note": note}

    @property
    def _seen(self) -> datetime:
        assert self.model is not None
        return self.model.trained[1]


def _unfit(model: Forecaster, spec: BacktestSpec) -> str:
    theirs, ours = model.setup.layout, definition.layout(spec.definition)
    if (theirs.target, theirs.series_key, theirs.timestamp, theirs.frequency) != (
        ours.target,
        ours.series_key,
        ours.timestamp,
        ours.frequency,
    ):
        return "The version in production forecasts another target or other series."
    if theirs.horizon != ours.horizon:
        mine, its = (durations.format_duration(one.horizon) for one in (ours, theirs))
        return f"The version in production was trained for a horizon of {its}, not of {mine}."
    missing = set(theirs.exogenous or ()) - set(ours.exogenous or theirs.exogenous or ())
    if missing:
        return f"The version in production needs the columns {', '.join(sorted(missing))}."
    if model.trained[1] >= spec.steps[-1].start:
        return f"The version in production was trained on all steps, up to {model.trained[1]:%Y-%m-%d %H:%M} UTC."
    return ""


def _same_rows(features: Features) -> featurise.RowsOf:
    times, keys = pd.DatetimeIndex(features.frame.index), features.keys

    def rows_of(key: featurise.Key, _frame: pd.DataFrame) -> pd.DatetimeIndex:
        mine = (keys == list(key)).all(axis=1).to_numpy() if len(keys.columns) else np.ones(len(times), dtype=bool)
        return times[mine]

    return rows_of
