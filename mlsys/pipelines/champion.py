"""Scores the champion on a candidate's hold-out through its twin: its recipe, fit to an older cut, so that neither has seen those days."""

from collections.abc import Mapping
from datetime import datetime

import pandas as pd

from mlsys import errors
from mlsys.pipelines import artifact, base, featurise
from mlsys.pipelines.evaluation import Rival
from mlsys.pipelines.featurise import Features
from mlsys.pipelines.names import PREDICTION
from mlsys.records import Champion


def compare(
    champion: Champion,
    cutoff: datetime,
    *,
    raw: Mapping[featurise.Key, pd.DataFrame],
    holdout: Features,
    setup: featurise.Setup,
    ports: base.Ports,
) -> Rival:
    """The champion's forecasts of the hold-out's rows, or why there are none. ``raw``: series not yet cleaned; ``cutoff``: its start."""
    if champion.twin_cutoff > cutoff:
        seen = f"its twin was trained up to {champion.twin_cutoff:%Y-%m-%d}"
        note = f"{seen}, within the hold-out that begins {cutoff:%Y-%m-%d}; train on a later window"
        return Rival(model_version_id=champion.model_version_id, forecast=None, note=note)
    try:
        twin = artifact.from_bytes(ports.blobs.get(champion.twin_sha256), ports=ports)
        features = holdout if twin.setup == setup else _own(twin.setup, raw, holdout, setup)
        forecast = twin.predict(features)[PREDICTION].to_numpy()
        return Rival(model_version_id=champion.model_version_id, forecast=forecast)
    except (errors.DamagedArtifact, errors.NotFound, errors.BadData, errors.Invalid) as error:
        return Rival(model_version_id=champion.model_version_id, forecast=None, note=error.message)


def _own(theirs: featurise.Setup, raw: Mapping[featurise.Key, pd.DataFrame], holdout: Features, ours: featurise.Setup) -> Features:
    """The champion's own features of the same rows: cleaned as it was trained, with its settled options."""
    if (theirs.layout.target, theirs.layout.series_key, theirs.layout.timestamp) != (
        ours.layout.target,
        ours.layout.series_key,
        ours.layout.timestamp,
    ):
        raise errors.BadData("it forecasts another target or other series than the candidate")
    missing = sorted(set(theirs.layout.exogenous or ()) - set(ours.layout.exogenous or ()))
    if missing:
        raise errors.MissingColumn(f"it needs the columns {', '.join(missing)}, which the candidate does not read")
    series, _ = featurise.clean(raw, theirs)
    return featurise.featurise(series, theirs, _same_rows(holdout, ours))


def _same_rows(holdout: Features, ours: featurise.Setup) -> featurise.RowsOf:
    times = pd.DatetimeIndex(holdout.frame.index)
    names = list(ours.layout.series_key)

    def rows_of(key: featurise.Key, _series: pd.DataFrame) -> pd.DatetimeIndex:
        mine = (holdout.keys[names] == list(key)).all(axis=1).to_numpy() if names else slice(None)
        return times[mine]

    return rows_of
