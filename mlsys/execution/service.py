"""Accepts jobs: checks a request against the registries, appends the queued run, and hands its id to the runner after the commit."""

from typing import Any

from mlsys import errors
from mlsys.clock import rfc3339
from mlsys.execution import repeats, requests, sources
from mlsys.execution.queue import Queue
from mlsys.execution.requests import PredictRequest, TrainRequest
from mlsys.pipelines import definition as definitions
from mlsys.pipelines.base import DataFiles
from mlsys.records import Json, ModelVersion, Run
from mlsys.registry import production
from mlsys.registry.models import unknown
from mlsys.registry.unit_of_work import UnitOfWork, Units

REPLAYED = ("train", "predict")


class JobService:
    def __init__(self, *, units: Units, files: DataFiles, queue: Queue) -> None:
        self._units = units
        self._files = files
        self._queue = queue

    def train(self, request: TrainRequest, *, trigger: Json) -> Run:
        """Queues a training. Raises Invalid for anything wrong with the request; then no run appears."""
        with self._units() as unit:
            return self.queue(unit, "train", self.training(unit, request), trigger, request.priority)

    def predict(self, request: PredictRequest, *, trigger: Json) -> Run:
        """Queues a prediction by the version in production (at ``model_at``), or the one named. Raises Invalid, Conflict without one."""
        with self._units() as unit:
            return self.queue(unit, "predict", self.prediction(unit, request), trigger, request.priority)

    def training(self, unit: UnitOfWork, request: TrainRequest) -> dict[str, Any]:
        """The spec of a run that does what is asked. Raises as train()."""
        return self._spec(unit, request, params=dict(request.params)) | {"params": dict(request.params), "promote": request.promote}

    def prediction(self, unit: UnitOfWork, request: PredictRequest) -> dict[str, Any]:
        """The spec of a run that does what is asked. Raises as predict()."""
        spec = self._spec(unit, request)
        version = self._version(unit, request, timezone=spec["definition"]["timezone"])
        spec |= {"model_version_id": version.model_version_id, "artifact_sha256": version.artifact.sha256}
        return spec | {"source": _source(spec, request)}

    def retry(self, run_id: str, asked: Json, *, trigger: Json) -> Run:
        """Queues a run with the spec of one that has ended, but for the fields asked for. Raises NotFound, Conflict, and as train()."""
        with self._units() as unit:
            run = unit.runs.get(run_id)
            repeats.check(run, asked)
            return self.queue(unit, run.kind, self._again(unit, run, asked), trigger, asked.get("priority", run.priority))

    def cancel(self, run_id: str) -> Run:
        """A queued run is cancelled; a running one is ``cancelling`` until its next step. Raises NotFound, Conflict for an ended one."""
        with self._units() as unit:
            unit.runs.cancel(run_id)
            run = unit.runs.get(run_id)
            unit.commit()
        return run

    def replay(self, run_id: str, *, trigger: Json) -> Run:
        """Queues a run that does another once more and compares. Raises NotFound, Conflict."""
        with self._units() as unit:
            run = unit.runs.get(run_id)
            if run.kind not in REPLAYED or run.status != "succeeded":
                trouble = f"The run {run.id} is a {run.kind} that {'has ' if run.finished else 'is '}{run.status}"
                raise errors.Conflict(f"{trouble}; what can be replayed is a {' or '.join(REPLAYED)} that has succeeded.")
            spec = {name: run.spec[name] for name in ("model_name", "start_date", "end_date")} | {"original_run_id": run.id}
            return self.queue(unit, "replay", spec, trigger)

    def _again(self, unit: UnitOfWork, run: Run, asked: Json) -> dict[str, Any]:
        if run.kind == "train":
            training = repeats.training(run, asked)
            params = asked.get("params") if "definition" in run.spec else training.params
            found = self._spec(unit, training, params=params, of=run)
            return {**run.spec, **found, "params": dict(training.params), "promote": training.promote}
        if run.kind == "predict":
            request = repeats.prediction(run, asked)
            found = self._spec(unit, request, of=run)
            version = self._version(unit, request, timezone=found["definition"]["timezone"])
            found |= {"model_version_id": version.model_version_id, "artifact_sha256": version.artifact.sha256}
            if repeats.turns_time(asked):
                found["source"] = _source(found, request)
            return {**run.spec, **found}
        if "definition" not in run.spec and run.kind != "replay":
            raise errors.Conflict(f"This firing never came to be a {run.kind}; ask for one at /models/{run.model_name}/{run.kind}.")
        return dict(run.spec)

    def _spec(
        self, unit: UnitOfWork, request: TrainRequest | PredictRequest, params: Json | None = None, of: Run | None = None
    ) -> dict[str, Any]:
        """``of``: a run whose definition it was, in place of the one declared now."""
        declared = unit.models.definition(request.model_name)
        if declared is not None and of is not None and "definition" in of.spec:  # a firing that failed has none
            same = (request.file_path, request.dataset) == (of.spec["file_path"], of.spec["dataset"])
            declared = {**of.spec["definition"], **({} if same else {"created_at": declared["created_at"]})}
        if declared is None:
            raise errors.Invalid({"model_name": unknown(request.model_name).message})
        definition = definitions.with_request(declared, file_path=request.file_path, dataset=request.dataset, params=params)
        definition = sources.settled(unit, definition)
        layout = definitions.layout(definition)
        window = requests.window(request.start_date, request.end_date, timezone=layout.timezone, frequency=layout.frequency)
        if "path" in definition["source"]:
            self._files.resolve(definition["source"]["path"])
        return {
            "model_name": request.model_name,
            "start_date": rfc3339(window.start),
            "end_date": rfc3339(window.end),
            "file_path": request.file_path,
            "dataset": request.dataset,
            "known_at": _known_at(request, definition),
            "definition": definition,
        }

    def _version(self, unit: UnitOfWork, request: PredictRequest, *, timezone: str) -> ModelVersion:
        if request.model_version_id is not None:
            unit.lock_model(request.model_name, shared=True)
            return production.named(unit, request.model_version_id, request.model_name)
        found = requests.first_cut(request, "model_at", "time_travel_date", timezone=timezone)
        at = found[1] if found else None
        current = unit.promotions.production(request.model_name, at=at)
        if current is None:
            when = f" at {rfc3339(at)}" if at else ""
            raise errors.Conflict(
                f"No version of {request.model_name!r} is in production{when}. Train one, promote one, or name a model_version_id."
            )
        return unit.versions.get(current.model_version_id)

    def queue(self, unit: UnitOfWork, kind: str, spec: Json, trigger: Json, priority: int | None = None) -> Run:
        """Appends the run, commits the unit, and has a worker look at the queue. Raises Unavailable when that is full."""
        return self._queue.add(unit, kind=kind, spec=spec, trigger=trigger, priority=priority)


def _source(spec: Json, request: PredictRequest) -> str:
    """Told from knowledge or with a model of the past, it is what would have been issued then, and never the newest."""
    return "backfill" if spec["known_at"] is not None or request.model_at is not None else "live"


def _known_at(request: TrainRequest | PredictRequest, definition: Json) -> str | None:
    found = requests.first_cut(request, "data_at", "time_travel_date", timezone=definition["timezone"])
    if found is None:
        return None
    field, instant = found
    if definition["created_at"] is None:
        trouble = f"The data source of {request.model_name!r} has no created_at, so it cannot tell what was known then."
        remedy = f"Name the column that says when a row became known: models.{request.model_name}.created_at in config.yaml."
        raise errors.Invalid({field: f"{trouble} {remedy}"})
    return rfc3339(instant)
