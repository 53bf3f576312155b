"""The nine kinds of candidate of gate.py, each as a file or a recipe that the pipeline trains on, and a stage to train them on."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from mlsys.pipelines import artifact, base, definition, settings, training
from mlsys.pipelines.files import DataRoots
from mlsys.records import Blob, Champion, Known, TrainSpec, Verdict, Window

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
START = datetime(2017, 1, 1, tzinfo=UTC)
EARLIEST = START + 84 * DAY  # no champion was trained on less than twelve weeks
CLOUDS = ["cloudcover_low", "cloudcover_mid", "cloudcover_high"]
SETTINGS = settings.gate_defaults()
KINDS = (
    "good",
    "good with 10 % daily noise",
    "two weeks of data only",
    "labels +15 % in the last four weeks",
    "labels shifted an hour",
    "all labels +5 %",
    "all labels +15 %",
    "clouds scrambled",
    "20 trees",
)
GOOD = KINDS[:1]
UNSEEN = "the last four weeks +15 % from the start (no earlier version saw them right)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """Of one candidate: the gate's raw material, daily errors of every champion by name, verdicts of the data checks."""

    scores: Mapping[str, Any]
    rivals: Mapping[str, Sequence[float] | None]
    checks: tuple[Verdict, ...]


class Stage:
    """Trains candidates; champions are the good ones of earlier days, each fitted once."""

    def __init__(self, work: Path, data: Path) -> None:
        self._work, self._frame = work, pd.read_parquet(data)
        self._blobs, self._champions = Blobs(), dict[str, Champion]()
        (work / "good.pq").write_bytes(data.read_bytes())
        self._build, self._fits = artifact.build_model, dict[str, Any]()
        artifact.build_model = self._remembering  # type: ignore[assignment]
        self._noisy = False
        self._rivals: dict[datetime, dict[str, Any]] = {}  # errors of champions on the days of the good file, the same for all kinds

    def candidate(self, kind: str, at: datetime, *, champions: Sequence[str], previous: str) -> Found:
        """``champions``: days that their windows ended; ``previous``: the same of the newest version that was judged."""
        file, known = self._file(kind, at), [champions[-1]] if kind == UNSEEN else [previous, champions[-1]]
        shared = self._rivals.get(at) if file == "good.pq" and kind != "two weeks of data only" else None
        line = () if shared else tuple(self._champion(name) for name in champions)
        spec = self._spec(file, at, kind, line, tuple(self._known(name) for name in known))
        self._noisy = kind == "good with 10 % daily noise"
        found = training.evaluate(spec, self._ports())
        self._noisy = False
        scores = found.scores
        rivals = shared or {one["model_version_id"]: one["errors"] for one in scores["earlier"]} | {
            scores["champion_id"]: scores["champion"]
        }
        if kind == "good":
            self._rivals[at] = rivals
        return Found(scores=scores, rivals=rivals, checks=found.prepared.checks)

    def _champion(self, name: str) -> Champion:
        if name not in self._champions:
            at = datetime.fromisoformat(name).replace(tzinfo=UTC)
            found = training.evaluate(self._spec("good.pq", at, "good", (), ()), self._ports())
            blob = self._blobs.put(artifact.to_bytes(found.twin, seen=found.prepared.profile))
            self._champions[name] = Champion(model_version_id=name, twin_sha256=blob.sha256, twin_cutoff=found.cutoff)
        return self._champions[name]

    def _known(self, name: str) -> Known:
        return Known(model_version_id=name, artifact_sha256=self._champion(name).twin_sha256)

    def _spec(self, file: str, at: datetime, kind: str, champions: tuple[Champion, ...], known: tuple[Known, ...]) -> TrainSpec:
        chosen = {
            "source": {"type": "parquet", "path": file},
            "timestamp": "start_of_quarter",
            "target": "power",
            "exogenous": CLOUDS,
            "features": {"solar": {"latitude": 51.5, "longitude": 4.0}},
            "model": {"type": "lightgbm", "params": {"num_iterations": 20} if kind == "20 trees" else {}},
        }
        start = at - 42 * DAY if kind == "two weeks of data only" else START
        window = Window(start=start, end=at)
        normal = definition.normalise(chosen)
        return TrainSpec(run_id=kind, model_name="m", definition=normal, window=window, champions=champions, known=known)

    def _file(self, kind: str, at: datetime) -> str:
        spoilt = _spoilt(kind, self._frame, at)
        if spoilt is None:
            return "good.pq"
        spoilt.to_parquet(self._work / "spoilt.pq")
        return "spoilt.pq"

    def _ports(self) -> base.Ports:
        return base.Ports(blobs=self._blobs, files=DataRoots([self._work]), outputs=self._work, reporter=Quiet())

    def _remembering(self, recipe: Mapping[str, Any], ports: base.Ports) -> base.Model:
        return Remembering(self._build(recipe, ports), repr(recipe), self._fits, noisy=self._noisy)


def _spoilt(kind: str, frame: pd.DataFrame, at: datetime) -> pd.DataFrame | None:
    """The file that a candidate is trained on; None: the good one."""
    power = frame["power"]
    if kind in ("labels +15 % in the last four weeks", UNSEEN):
        return frame.assign(power=power.where(frame.index < at - 28 * DAY, power * 1.15))
    if kind == "labels shifted an hour":
        return frame.assign(power=power.reindex(frame.index - HOUR).to_numpy())
    if kind in ("all labels +5 %", "all labels +15 %"):
        return frame.assign(power=power * (1.05 if "+5" in kind else 1.15))
    return _scrambled(frame) if kind == "clouds scrambled" else None


def _scrambled(frame: pd.DataFrame) -> pd.DataFrame:
    """Each day has the clouds of another."""
    days = frame.index.floor("D")
    unique = days.unique()
    other = dict(zip(unique, np.random.default_rng(0).permutation(np.asarray(unique)), strict=True))
    moved = pd.DatetimeIndex([other[day] for day in days]) + (frame.index - days)
    return frame.assign(**{name: frame[name].reindex(moved).to_numpy() for name in CLOUDS})


class Blobs:
    def __init__(self) -> None:
        self._stored: dict[str, bytes] = {}

    def put(self, data: bytes) -> Blob:
        sha256 = hashlib.sha256(data).hexdigest()
        self._stored[sha256] = data
        return Blob(sha256=sha256, size=len(data), uri="memory:")

    def get(self, sha256: str) -> bytes:
        return self._stored[sha256]


class Quiet:
    def progress(self, step: str, done: int, total: int) -> None: ...

    def log(self, message: str, *, level: Literal["info", "warning", "error"] = "info") -> None: ...


class Remembering(base.Model):
    """The same rows and recipe are fitted once: kinds that differ only in the hold-out share a fit."""

    def __init__(self, model: base.Model, recipe: str, fits: dict[str, Any], *, noisy: bool) -> None:
        self._model, self._recipe, self._fits, self._noisy = model, recipe, fits, noisy

    def fit(self, features: pd.DataFrame, target: "pd.Series[float]", **options: Any) -> base.FittedModel:
        key = self._key(features, target)
        if key not in self._fits:
            self._fits[key] = self._model.fit(features, target, **options)
        return Noisy(self._fits[key]) if self._noisy else self._fits[key]

    def settle(self, features: pd.DataFrame, target: "pd.Series[float]", **options: Any) -> dict[str, Any]:
        key = f"settle {self._key(features, target)}"
        if key not in self._fits:
            self._fits[key] = self._model.settle(features, target, **options)
        return dict(self._fits[key])

    def load(self, data: Mapping[str, Any]) -> base.FittedModel:
        return self._model.load(data)

    def _key(self, features: pd.DataFrame, target: "pd.Series[float]") -> str:
        return hashlib.sha256(self._recipe.encode() + features.to_numpy().tobytes() + target.to_numpy().tobytes()).hexdigest()


class Noisy(base.FittedModel):
    """Forecasts of another model, each day's by a factor of its own: one and a tenth of a standard normal number."""

    def __init__(self, model: base.FittedModel) -> None:
        self._model = model

    def predict(self, features: pd.DataFrame) -> pd.DataFrame:
        day = pd.DatetimeIndex(features.index).floor("D")
        factor = {one: np.random.default_rng(one.toordinal()).normal(1, 0.1) for one in day.unique()}
        return self._model.predict(features).mul(day.map(factor).to_numpy(), axis=0)

    def to_data(self) -> dict[str, Any]:
        return self._model.to_data()

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "Noisy":
        raise NotImplementedError
