"""Backfill: for each step of a range the forecast as it would have been issued then, by the model and from the knowledge of that instant.

A step is kept by a transaction of its own: whoever continues, or asks again, does only what is missing.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from mlsys import errors
from mlsys.clock import Clock, rfc3339
from mlsys.execution import requests, sources, steps
from mlsys.execution.engines import Engine
from mlsys.execution.handlers import PortsFor
from mlsys.execution.queue import Queue
from mlsys.execution.requests import Day
from mlsys.execution.runner import Conclusion
from mlsys.execution.steps import Step
from mlsys.pipelines import definition as definitions
from mlsys.pipelines import durations
from mlsys.pipelines.base import Reporter
from mlsys.records import Json, PredictSpec, Run, Window
from mlsys.registry.unit_of_work import UnitOfWork, Units

TOLD = 1000  # at most so many skipped steps are named in a result
PASSING = (errors.Unavailable, errors.Cancelled, errors.Died)


@dataclass(frozen=True, kw_only=True)
class BackfillRequest:
    """``step``: an ISO 8601 duration."""

    model_name: str
    start_date: Day
    end_date: Day
    step: str
    priority: int | None = None


class BackfillService:
    def __init__(self, *, units: Units, clock: Clock, queue: Queue) -> None:
        self._units = units
        self._clock = clock
        self._queue = queue

    def plan(self, request: BackfillRequest) -> list[Step]:
        """What start() would do. Raises NotFound for an unknown model, Invalid."""
        with self._units() as unit:
            return steps.plan(unit, request.model_name, windows(self.spec(unit, request)))

    def start(self, request: BackfillRequest, *, trigger: Json) -> Run:
        """Queues the run. Raises as plan() does; then no run appears."""
        with self._units() as unit:
            spec = self.spec(unit, request)
            return self._queue.add(unit, kind="backfill", spec=spec, trigger=trigger, priority=request.priority)

    def spec(self, unit: UnitOfWork, request: BackfillRequest) -> dict[str, Any]:
        """Of a run that does what is asked. Raises as plan()."""
        definition = sources.settled(unit, unit.models.get(request.model_name).definition)
        if definition["created_at"] is None:
            trouble = f"The data source of {request.model_name!r} has no created_at, so it cannot tell what was known at each step."
            remedy = f"Name the column that says when a row became known: models.{request.model_name}.created_at in config.yaml."
            raise errors.Invalid({"model_name": f"{trouble} {remedy}"})
        layout = definitions.layout(definition)
        check_step(request.step, layout.frequency)
        window = requests.window(request.start_date, request.end_date, timezone=layout.timezone, frequency=layout.frequency)
        spec = {
            "model_name": request.model_name,
            "start_date": rfc3339(window.start),
            "end_date": rfc3339(window.end),
            "step": request.step,
            "known_at": None,
            "definition": definition,
        }
        if windows(spec)[-1].start > self._clock.now():
            raise errors.Invalid({"end_date": "The last step begins in the future: what would be known then is not known yet."})
        return spec


class BackfillHandler:
    """``owner``: this process, whose steps are refused once the run is no longer its own."""

    def __init__(self, *, units: Units, ports_for: PortsFor, clock: Clock, owner: int, engine: Engine) -> None:
        self._units = units
        self._engine = engine
        self._owner = owner
        self._ports_for = ports_for
        self._clock = clock

    def __call__(self, run: Run, reporter: Reporter) -> Conclusion:
        with self._units() as unit:
            planned = steps.plan(unit, run.model_name, windows(run.spec))
        tally = _Tally()
        for number, step in enumerate(planned):
            reporter.progress("steps", number, len(planned))
            if step.state == "present":
                tally.present += 1
            elif step.model_version_id is None:
                tally.skip(step, "no_model", "No version was in production then.")
            else:
                self._attempt(run, step, _Counted(reporter, number, len(planned)), tally)
        reporter.progress("done", len(planned), len(planned))
        if not tally.made and not tally.present:
            raise tally.error or self._nothing(run, len(planned))
        return lambda unit: tally.result(len(planned))

    def _nothing(self, run: Run, steps: int) -> errors.NothingMade:
        with self._units() as unit:
            first = unit.promotions.first_at(run.model_name)
        since = f"the first came into production at {rfc3339(first)}" if first else "none has been up to now"
        return errors.NothingMade(
            f"None of the {steps} steps could be made: at the start of each, no version of {run.model_name!r} was in production; {since}. "
            "Ask for days since then, or for a backtest, which fits models of its own: "
            f"POST /models/{run.model_name}/backtest, mlsys backtest {run.model_name}."
        )

    def _attempt(self, run: Run, step: Step, reporter: Reporter, tally: "_Tally") -> None:
        """A step that cannot be done (nothing was known then, say) is told and keeps no other from it."""
        try:
            rows = self._forecast(run, step, reporter)
        except PASSING:
            raise
        except errors.MlsysError as error:
            tally.error = tally.error or error
            tally.skip(step, error.kind, str(error))
            reporter.log(f"The step of {rfc3339(step.start)} was skipped: {error}", level="warning")
        else:
            tally.made += 1
            tally.rows += rows

    def _forecast(self, run: Run, step: Step, reporter: Reporter) -> int:
        from mlsys.pipelines import prediction

        with self._units() as unit:
            version = unit.versions.get(step.model_version_id or "")
        spec = PredictSpec(
            run_id=run.id,
            model_name=run.model_name,
            definition=run.spec["definition"],
            window=step.window,
            model_version_id=version.model_version_id,
            artifact_sha256=version.artifact.sha256,
            issued_at=self._clock.now(),
            known_at=step.start,
            deliver=False,
        )
        kept = self._engine.run(prediction.predict, spec, self._ports_for(reporter)).kept
        with self._units() as unit:
            unit.runs.assert_held(run.id, owner=self._owner, attempt=run.attempt)
            unit.predictions.add(
                run_id=run.id,
                model_name=run.model_name,
                source="backfill",
                model_version_id=version.model_version_id,
                kept=kept,
                step=step.window,
            )
            unit.commit()
        return kept.rows


def check_step(step: str, frequency: timedelta) -> None:
    """Raises Invalid for what is no duration, and for one in which no row may fall."""
    try:
        length: timedelta = durations.parse_duration(step)
    except ValueError as error:
        raise errors.Invalid({"step": str(error)}) from None
    if length < frequency:
        shortest = durations.format_duration(frequency)
        raise errors.Invalid({"step": f"The step must not be shorter than the time between rows: write {shortest} or more."})


def windows(spec: Json) -> list[Window]:
    """The steps of a run's spec. Raises Invalid."""
    start, end = (datetime.fromisoformat(spec[name]) for name in ("start_date", "end_date"))
    length: timedelta = durations.parse_duration(spec["step"])
    return steps.cut(Window(start=start, end=end), length, timezone=spec["definition"]["timezone"])


@dataclass
class _Tally:
    made: int = 0
    present: int = 0
    rows: int = 0
    skipped: int = 0
    told: list[dict[str, str]] = field(default_factory=list)
    error: errors.MlsysError | None = None

    def skip(self, step: Step, kind: str, reason: str) -> None:
        self.skipped += 1
        if len(self.told) < TOLD:
            self.told.append({"start": rfc3339(step.start), "end": rfc3339(step.end), "kind": kind, "reason": reason})

    def result(self, total: int) -> dict[str, Any]:
        counts = {"made": self.made, "present": self.present, "skipped": self.skipped}
        return {"steps": {"total": total, **counts}, "rows": self.rows, "skipped": self.told}


class _Counted:
    """The reporter of one step: whatever its job does, the run's progress counts steps."""

    def __init__(self, reporter: Reporter, done: int, total: int) -> None:
        self._reporter = reporter
        self._done = done
        self._total = total

    def progress(self, step: str, done: int, total: int) -> None:
        self._reporter.progress("steps", self._done, self._total)

    def log(self, message: str, *, level: Literal["info", "warning", "error"] = "info") -> None:
        self._reporter.log(message, level=level)
