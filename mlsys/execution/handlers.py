"""What each kind of run does: turn the stored spec into the job body's, run the body, and conclude: here is decided, in one transaction."""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from mlsys.clock import Clock
from mlsys.events import types
from mlsys.execution import evidence, sources
from mlsys.execution.engines import Engine
from mlsys.execution.runner import Conclusion
from mlsys.pipelines import settings, validation
from mlsys.pipelines.base import Ports, Reporter
from mlsys.records import Champion, Known, ModelVersion, PredictOutcome, PredictSpec, Run, TrainOutcome, TrainSpec, Validation, Window
from mlsys.registry import production
from mlsys.registry.unit_of_work import UnitOfWork, Units

PortsFor = Callable[[Reporter], Ports]

_JUDGED = {"accepted": types.MODEL_ACCEPTED, "rejected": types.MODEL_REJECTED, "cannot_judge": types.MODEL_NOT_JUDGED}


class TrainHandler:
    def __init__(self, *, units: Units, ports_for: PortsFor, engine: Engine) -> None:
        self._units = units
        self._engine = engine
        self._ports_for = ports_for

    def __call__(self, run: Run, reporter: Reporter) -> Conclusion:
        from mlsys.pipelines import training

        known_at, newest = knowledge(self._units, run)
        champions, known = self._earlier(run)
        spec = train_spec(run, known_at=known_at, champions=champions, known=known)
        ports = as_it_stood(self._ports_for(reporter), newest)
        witness = evidence.Witness(ports.files)
        outcome = self._engine.run(training.train, spec, replace(ports, files=witness))
        told = evidence.told(spec, outcome, witness, newest_file=newest)
        return lambda unit: self._conclude(unit, run, outcome) | told

    def _earlier(self, run: Run) -> tuple[tuple[Champion, ...], tuple[Known, ...]]:
        """The last versions in production, whose twins the candidate must match, and those whose data its own is held against; for a
        training in the past: of then. A version that could not be judged is no measure of data, until a person promotes it."""
        at, name = _instant(run.spec["known_at"]), run.model_name
        count = (settings.gate_defaults() | run.spec["definition"]["validation"])["best_of"]
        with self._units() as unit:
            heads = [unit.versions.get(id) for id in unit.promotions.last(name, count=count, at=at)]
            judged = unit.versions.newest_judged(name, at=at)
        champions = tuple(
            Champion(model_version_id=one.model_version_id, twin_sha256=one.twin.sha256, twin_cutoff=one.twin_cutoff) for one in heads
        )
        sources = {one.model_version_id: one for one in (*heads[:1], judged) if one is not None}
        ordered = sorted(sources.values(), key=lambda one: -one.version)
        return champions, tuple(Known(model_version_id=one.model_version_id, artifact_sha256=one.artifact.sha256) for one in ordered)

    def _conclude(self, unit: UnitOfWork, run: Run, outcome: TrainOutcome) -> dict[str, Any]:
        production.lock(unit, run.model_name)
        current = unit.promotions.production(run.model_name, at=_instant(run.spec["known_at"]))
        expected = current.model_version_id if current else None
        chosen = run.spec["definition"]["validation"]
        validated = validation.judge(outcome.evaluation, chosen, champion_expected=expected, data=outcome.checks)
        spec = {name: run.spec[name] for name in ("start_date", "end_date", "known_at", "params", "definition")}
        version = unit.versions.add(
            model_name=run.model_name,
            run_id=run.id,
            spec=spec | {"recipe": outcome.environment["model"], "environment": outcome.environment},
            outcome=outcome,
            validation=validated,
        )
        promoted = validated.decision == "accepted" and run.spec["promote"] == "auto"
        self._tell(unit, version, validated)
        if promoted:
            reason = f"accepted by the gate in run {run.id}"
            production.enact(unit, run.model_name, version.model_version_id, action="auto", actor="gate", reason=reason)
        return {
            "model_version_id": version.model_version_id,
            "version": version.version,
            "metrics": dict(outcome.metrics),
            "validation": asdict(validated),
            "promoted": promoted,
            "data": evidence.data_json(outcome.data),
        }

    def _tell(self, unit: UnitOfWork, version: ModelVersion, validated: Validation) -> None:
        about = {
            "model_name": version.model_name,
            "model_version_id": version.model_version_id,
            "version": version.version,
            "run_id": version.run_id,
        }
        unit.events.append(types.MODEL_CREATED, about | {"metrics": dict(version.metrics)})
        unit.events.append(_JUDGED[validated.decision], about | {"validation": asdict(validated)})


class PredictHandler:
    def __init__(self, *, units: Units, ports_for: PortsFor, clock: Clock, engine: Engine) -> None:
        self._units = units
        self._engine = engine
        self._ports_for = ports_for
        self._clock = clock

    def __call__(self, run: Run, reporter: Reporter) -> Conclusion:
        from mlsys.pipelines import prediction

        known_at, newest = knowledge(self._units, run)
        spec = predict_spec(run, known_at=known_at, issued_at=self._clock.now())
        ports = as_it_stood(self._ports_for(reporter), newest)
        witness = evidence.Witness(ports.files)
        outcome = self._engine.run(prediction.predict, spec, replace(ports, files=witness))
        told = evidence.told(spec, outcome, witness, newest_file=newest)
        return lambda unit: self._conclude(unit, run, outcome) | told

    def _conclude(self, unit: UnitOfWork, run: Run, outcome: PredictOutcome) -> dict[str, Any]:
        unit.predictions.add(
            run_id=run.id,
            model_name=run.model_name,
            source=run.spec.get("source", "live"),
            model_version_id=run.spec["model_version_id"],
            kept=outcome.kept,
        )
        result = {
            "model_version_id": run.spec["model_version_id"],
            "output": asdict(outcome.output),
            "data": evidence.data_json(outcome.data),
            "checks": [asdict(check) for check in outcome.checks],
        }
        about = {"run_id": run.id, "model_name": run.model_name, "model_version_id": run.spec["model_version_id"]}
        unit.events.append(types.PREDICTION_CREATED, about | {"output": asdict(outcome.output)})
        return result


def train_spec(run: Run, *, known_at: datetime | None, champions: tuple[Champion, ...], known: tuple[Known, ...]) -> TrainSpec:
    """The job body's spec from a run's. What an older run's definition does not say is as it is by default."""
    definition = {**run.spec["definition"], "validation": settings.gate_defaults() | run.spec["definition"]["validation"]}
    return TrainSpec(
        run_id=run.id,
        model_name=run.model_name,
        definition=definition,
        window=_window(run),
        known_at=known_at,
        champions=champions,
        known=known,
    )


def predict_spec(run: Run, *, known_at: datetime | None, issued_at: datetime, deliver: bool = True) -> PredictSpec:
    """As train_spec(); ``deliver``: also to the model's destination."""
    return PredictSpec(
        run_id=run.id,
        model_name=run.model_name,
        definition=run.spec["definition"],
        window=_window(run),
        model_version_id=run.spec["model_version_id"],
        artifact_sha256=run.spec["artifact_sha256"],
        issued_at=issued_at,
        known_at=known_at,
        deliver=deliver,
    )


def as_it_stood(ports: Ports, newest_file: int | None) -> Ports:
    """The ports of a job that reads a data set without what arrived after that file; None: as it stands."""
    if newest_file is None or ports.datasets is None:
        return ports
    return replace(ports, datasets=ports.datasets.until(newest_file))


def knowledge(units: Units, run: Run) -> tuple[datetime | None, int | None]:
    """The cut to read with, and the newest file of the data set that is read: what the same can be read again by later.

    The cut is the one asked for; of a data set otherwise the present.
    """
    known_at, source = _instant(run.spec["known_at"]), run.spec["definition"]["source"]
    if source["type"] != "dataset":
        return known_at, None
    with units() as unit:
        now = sources.standing(unit, source["name"])
    return known_at or now.at, now.newest


def _window(run: Run) -> Window:
    return Window(start=datetime.fromisoformat(run.spec["start_date"]), end=datetime.fromisoformat(run.spec["end_date"]))


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
