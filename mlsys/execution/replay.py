"""Runs of kind ``replay``: do another run once more from its stored spec and bytes, compare, and say why where it can be known.

Nothing is written but the replay's own result: no version, promotion, prediction or event of a model.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any

from mlsys import errors
from mlsys.execution import evidence, handlers
from mlsys.execution.engines import Engine
from mlsys.execution.evidence import Aside, Witness
from mlsys.execution.runner import Conclusion
from mlsys.pipelines.base import Ports, Reporter
from mlsys.records import ModelVersion, PredictOutcome, Run, TrainOutcome
from mlsys.registry import production
from mlsys.registry.unit_of_work import Units

CANNOT = (errors.DamagedArtifact, errors.BadData, errors.Invalid, errors.NotFound, errors.ConfigError, errors.Unavailable, errors.Freed)


class ReplayHandler:
    """``forget`` drops what was learnt about stored data files, so that every byte is looked at anew."""

    def __init__(self, *, units: Units, ports_for: handlers.PortsFor, forget: Callable[[], None], engine: Engine) -> None:
        self._units = units
        self._engine = engine
        self._ports_for = ports_for
        self._forget = forget

    def __call__(self, run: Run, reporter: Reporter) -> Conclusion:
        with self._units() as unit:
            original = unit.runs.get(run.spec["original_run_id"])
        result = {"original_run_id": original.id, "original_kind": original.kind}
        self._forget()
        try:
            again = _Again(original, units=self._units, ports=self._ports_for(reporter), engine=self._engine)
            result |= again.trained() if original.kind == "train" else again.predicted()
        except errors.DatabaseUnavailable:  # our own: tried again when it is back
            raise
        except CANNOT as error:
            result |= {"verdict": "cannot_replay", "reason": str(error)}
        reporter.log(f"Replay of run {original.id}: {result['verdict']}.")
        return lambda unit: result


class _Again:
    """One run, done again beside the stores."""

    def __init__(self, original: Run, *, units: Units, ports: Ports, engine: Engine) -> None:
        self._run = original
        self._engine = engine
        self._result = original.result or {}
        self._units = units
        self._stored = ports.blobs
        self._recorded = dict(self._result.get("environment") or {})
        self._aside = Aside(ports.blobs)
        self._witness = Witness(ports.files)
        threads = self._recorded.get("threads", ports.threads)
        ports = handlers.as_it_stood(ports, self._result.get("newest_file"))
        self._ports = replace(ports, blobs=self._aside, files=self._witness, threads=threads)

    def trained(self) -> dict[str, Any]:
        from mlsys.pipelines import comparing, training

        with self._units() as unit:
            version = unit.versions.get(self._result["model_version_id"])
        production.refuse_freed(version)
        self._recorded = self._recorded or dict(version.spec.get("environment") or {})
        model, twin = self._models(version)
        champions = evidence.champions_of(self._result)
        for champion in champions[:1]:  # earlier ones decide no model, only the gate
            self._read(champion.twin_sha256, f"the twin of the champion {champion.model_version_id}")

        def do(cut: datetime | None) -> TrainOutcome:
            known = evidence.known_of(self._result)
            spec = handlers.train_spec(self._run, known_at=cut, champions=champions, known=known)
            return self._engine.run(training.train, spec, self._ports)

        outcome = self._done(do)
        found = comparing.models(model, self._aside.get(outcome.artifact.sha256))
        if found["verdict"] == "identical":  # the model that is in use; then the one it was judged by
            found = comparing.models(twin, self._aside.get(outcome.twin.sha256))
        return found | self._told(outcome)

    def predicted(self) -> dict[str, Any]:
        from mlsys.pipelines import comparing, names, prediction

        with self._units() as unit:
            kept = unit.inventory.predictions(self._run.id)
            version = unit.versions.get(self._run.spec["model_version_id"])
        if not kept:
            return {
                "verdict": "cannot_replay",
                "reason": f"The rows of run {self._run.id} were not kept; there is nothing to compare with.",
            }
        production.refuse_freed(version)
        self._read(self._run.spec["artifact_sha256"], f"the artifact of version {self._run.spec['model_version_id']}")
        recorded = comparing.read_rows(self._read(kept[-1].sha256, f"the {kept[-1].owner}"))
        issued_at = self._run.started_at or self._run.created_at

        def do(cut: datetime | None) -> PredictOutcome:
            spec = handlers.predict_spec(self._run, known_at=cut, issued_at=issued_at, deliver=False)
            return self._engine.run(prediction.predict, spec, self._ports)

        outcome = self._done(do)
        replayed = comparing.read_rows(self._aside.get(outcome.kept.blob.sha256))
        return comparing.rows(recorded, replayed, (names.TIMESTAMP, *outcome.kept.series_key)) | self._told(outcome)

    def _done(self, do: Callable[[datetime | None], Any]) -> Any:
        """What was known then. A source that says when rows became known may have got more since: those are left out."""
        cut = self._instant(self._result.get("known_at") or self._run.spec["known_at"])
        source = self._run.spec["definition"]["source"]
        with _naming(f"a file of the data set {source['name']}") if source["type"] == "dataset" else nullcontext():
            outcome = do(cut)
        later = cut is None and self._run.spec["definition"]["created_at"] is not None and self._run.started_at is not None
        if later and not self._same_data(outcome):
            past = do(self._run.started_at)
            return past if self._same_data(past) else outcome
        return outcome

    def _same_data(self, outcome: TrainOutcome | PredictOutcome) -> bool:
        recorded, present = self._data(outcome)
        return bool(recorded["sha256"] == present["sha256"])

    def _data(self, outcome: TrainOutcome | PredictOutcome) -> tuple[Any, Any]:
        """All rows read, recorded and now; of a run that recorded only those of the window, these."""
        if self._result.get("read") and outcome.read:
            return self._result["read"], evidence.data_json(outcome.read)
        return self._result["data"], evidence.data_json(outcome.data)

    def _told(self, outcome: TrainOutcome | PredictOutcome) -> dict[str, Any]:
        recorded, present = self._data(outcome)
        why = [
            *evidence.data_changed(recorded, present, self._files()),
            *evidence.libraries_changed(self._recorded, outcome.environment),
        ]
        return {"why": why, "data": evidence.data_json(outcome.data), "environment": dict(outcome.environment)}

    def _files(self) -> list[str]:
        """Of a data set none: what arrived later is not read, and a file whose bytes differ is refused."""
        if self._run.spec["definition"]["source"]["type"] == "dataset":
            return []
        return evidence.files_changed(self._result.get("files") or [], self._witness.seen())

    def _models(self, version: ModelVersion) -> tuple[bytes, bytes]:
        of = f"of version {version.model_version_id}"
        return self._read(version.artifact.sha256, f"the artifact {of}"), self._read(version.twin.sha256, f"the twin {of}")

    def _read(self, sha256: str, what: str) -> bytes:
        with _naming(what):
            return self._stored.get(sha256)

    @staticmethod
    def _instant(text: str | None) -> datetime | None:
        return datetime.fromisoformat(text) if text else None


@contextmanager
def _naming(what: str) -> Iterator[None]:
    try:
        yield
    except errors.DamagedArtifact as error:
        raise errors.DamagedArtifact(f"{error.message} It is {what}.") from error
