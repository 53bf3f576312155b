"""Scores champions on a candidate's hold-out through their twins: their recipes, fit to older cuts, so that none has seen those days."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from mlsys import errors
from mlsys.pipelines import artifact, base, featurise
from mlsys.pipelines.evaluation import Rival
from mlsys.pipelines.featurise import Features
from mlsys.pipelines.forecaster import Forecaster
from mlsys.pipelines.names import PREDICTION
from mlsys.pipelines.profile import Profile
from mlsys.records import Champion, Known

UNUSABLE = (errors.DamagedArtifact, errors.NotFound, errors.BadData, errors.Invalid)


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A champion with its twin in memory, or why there is none."""

    champion: Champion
    forecaster: Forecaster | None
    note: str = ""


def load(champions: Iterable[Champion], ports: base.Ports) -> tuple[Twin, ...]:
    found = []
    for champion in champions:
        try:
            found.append(Twin(champion=champion, forecaster=artifact.from_bytes(ports.blobs.get(champion.twin_sha256), ports=ports)))
        except UNUSABLE as error:
            found.append(Twin(champion=champion, forecaster=None, note=error.message))
    return tuple(found)


def profiles(known: Iterable[Known], ports: base.Ports) -> tuple[Profile, ...]:
    """What earlier versions saw, of those whose artifact is there and tells."""
    found = []
    for version in known:
        try:
            found.append(artifact.profile(ports.blobs.get(version.artifact_sha256)))
        except UNUSABLE as error:
            ports.reporter.log(
                f"The data is not compared with that of version {version.model_version_id}: {error.message}", level="warning"
            )
    return tuple(profile for profile in found if profile is not None)


def compare(twin: Twin, cutoff: datetime, *, raw: Mapping[featurise.Key, pd.DataFrame], holdout: Features, setup: featurise.Setup) -> Rival:
    """The champion's forecasts of the hold-out's rows, or why there are none. ``raw``: series not yet cleaned; ``cutoff``: its start."""
    champion = twin.champion
    if champion.twin_cutoff > cutoff:
        seen = f"its twin was trained up to {champion.twin_cutoff:%Y-%m-%d}"
        note = f"{seen}, within the hold-out that begins {cutoff:%Y-%m-%d}; train on a later window"
        return Rival(model_version_id=champion.model_version_id, forecast=None, note=note)
    if twin.forecaster is None:
        return Rival(model_version_id=champion.model_version_id, forecast=None, note=twin.note)
    try:
        theirs = twin.forecaster.setup
        features = holdout if theirs == setup else _own(theirs, raw, holdout, setup)
        forecast = twin.forecaster.predict(features)[PREDICTION].to_numpy()
        return Rival(model_version_id=champion.model_version_id, forecast=forecast)
    except UNUSABLE as error:
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
