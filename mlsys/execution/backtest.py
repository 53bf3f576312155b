"""Backtests: what a model's recipe would have forecast over a range of the past, from rolling origins. Makes no version, changes none."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from mlsys import errors
from mlsys.clock import rfc3339
from mlsys.execution import handlers, requests, sources, steps
from mlsys.execution.engines import Engine
from mlsys.execution.handlers import PortsFor
from mlsys.execution.queue import Queue
from mlsys.execution.requests import Day
from mlsys.execution.runner import Conclusion
from mlsys.pipelines import base, build, durations
from mlsys.pipelines import definition as definitions
from mlsys.pipelines.base import Ports, Reporter
from mlsys.records import BacktestOutcome, BacktestSpec, Json, Run, Window
from mlsys.registry.unit_of_work import UnitOfWork, Units

USUAL_WINDOW = "P365D"
EXPANDING, ROLLING = "expanding", "rolling"
MAX_FITS = 1000
MAX_ROWS = 5_000_000  # of one series
TAKEN = ("actual", "seasonal_naive", "climatology", "production")  # columns of the rows that are kept
_EVERY = re.compile(r"(?:every[ :]?)?(\d{1,6})")
_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class BacktestRequest:
    """``step`` and ``horizon``: ISO 8601 durations (None: the model's horizon). ``refit``: ``never``, or every so many steps.

    ``window``: the length of the training data, a duration (rolling), ``expanding`` (all there is), or {type, length}: the length at the
    first origin, of a window that moves on or grows from there.
    """

    model_name: str
    start_date: Day
    end_date: Day
    step: str | None = None
    refit: int | str = "never"
    window: str | Mapping[str, Any] = USUAL_WINDOW
    horizon: str | None = None


class BacktestService:
    """``ports``: to look whether there is data at all."""

    def __init__(self, *, units: Units, queue: Queue, ports: Callable[[], Ports]) -> None:
        self._units = units
        self._queue = queue
        self._ports = ports

    def start(self, request: BacktestRequest, *, trigger: Json) -> Run:
        """Queues the run. Raises NotFound for an unknown model, Invalid naming what is wrong with the request; then no run appears."""
        with self._units() as unit:
            spec = self.spec(unit, request)
        self._look(spec)
        with self._units() as unit:
            return self._queue.add(unit, kind="backtest", spec=spec, trigger=trigger)

    def spec(self, unit: UnitOfWork, request: BacktestRequest) -> dict[str, Any]:
        """Of a run that does what is asked, whether there is data for it or not. Raises as start()."""
        declared = unit.models.get(request.model_name).definition
        horizon = declared["horizon"] if request.horizon is None else request.horizon
        definition = definitions.normalise({**declared, "horizon": horizon})  # raises Invalid({"horizon": ..})
        definition = sources.settled(unit, definition)
        layout = definitions.layout(definition)
        if taken := [name for name in definition["series_key"] if name in TAKEN]:
            raise errors.Invalid({"model_name": f"Its series key {taken[0]!r} is the name of a column of a backtest's rows."})
        window = requests.window(request.start_date, request.end_date, timezone=layout.timezone, frequency=layout.frequency)
        version = unit.versions.production(request.model_name)
        spec = {
            "model_name": request.model_name,
            "start_date": rfc3339(window.start),
            "end_date": rfc3339(window.end),
            "step": definition["horizon"] if request.step is None else request.step,
            "refit": _refit(request.refit),
            "window": _training(request.window),
            "horizon": definition["horizon"],
            "known_at": None,
            "definition": definition,
            "production": version and {"model_version_id": version.model_version_id, "artifact_sha256": version.artifact.sha256},
        }
        _limited(spec, layout.frequency)
        return spec

    def _look(self, spec: Json) -> None:
        """Raises Invalid when the source holds no row of the range."""
        from mlsys.pipelines import reading

        layout = definitions.layout(spec["definition"])
        window = Window(start=datetime.fromisoformat(spec["start_date"]), end=datetime.fromisoformat(spec["end_date"]))
        source = build.build(base.DataSource, spec["definition"]["source"], ports=self._ports(), field="source")
        table, _ = reading.read(source, base.Query(layout=layout, columns=(layout.target,), window=window))
        if table[layout.target].null_count == table.num_rows:
            text = f"The source holds no measured row from {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC."
            raise errors.Invalid({"start_date": f"{text} Ask for days that its data covers."})


class BacktestHandler:
    def __init__(self, *, units: Units, ports_for: PortsFor, engine: Engine) -> None:
        self._units = units
        self._engine = engine
        self._ports_for = ports_for

    def __call__(self, run: Run, reporter: Reporter) -> Conclusion:
        from mlsys.pipelines import backtesting

        known_at, newest = handlers.knowledge(self._units, run)
        ports = handlers.as_it_stood(self._ports_for(reporter), newest)
        outcome = self._engine.run(backtesting.backtest, _job(run, known_at), ports)
        return lambda unit: _conclude(unit, run, outcome)


def check(params: Json) -> None:
    """The fields of a request that say how, by themselves. Raises Invalid naming the one that cannot be."""
    _refit(params.get("refit", "never"))
    _training(params.get("window", USUAL_WINDOW))
    for name in ("step", "horizon"):
        if name in params and _duration(params[name], name) <= timedelta(0):
            raise errors.Invalid({name: "Write a duration longer than zero, such as P1D."})


def origins(spec: Json) -> list[Window]:
    """The steps of a run's spec: each issued at its start, and reaching as far as the horizon, within the range. Raises Invalid."""
    start, end = (datetime.fromisoformat(spec[name]) for name in ("start_date", "end_date"))
    step, horizon = (_duration(spec[name], name) for name in ("step", "horizon"))
    timezone = spec["definition"]["timezone"]
    zone = ZoneInfo(timezone) if horizon % _DAY == timedelta(0) else UTC  # whole days are those of the calendar
    found = steps.cut(Window(start=start, end=end), step, timezone=timezone)
    return [Window(start=one.start, end=min((one.start.astimezone(zone) + horizon).astimezone(UTC), end)) for one in found]


def _job(run: Run, known_at: datetime | None) -> BacktestSpec:
    spec = run.spec
    length = spec["window"]["length"]
    return BacktestSpec(
        run_id=run.id,
        model_name=run.model_name,
        definition=spec["definition"],
        steps=tuple(origins(spec)),
        length=durations.parse_duration(length) if length else None,
        expanding=spec["window"]["type"] == EXPANDING,
        refit=None if spec["refit"] == "never" else spec["refit"],
        known_at=known_at,
        production=spec["production"] and (spec["production"]["model_version_id"], spec["production"]["artifact_sha256"]),
    )


def _conclude(unit: UnitOfWork, run: Run, outcome: BacktestOutcome) -> dict[str, Any]:
    unit.predictions.add(run_id=run.id, model_name=run.model_name, source="backtest", model_version_id=None, kept=outcome.kept)
    asked = {name: run.spec[name] for name in ("step", "refit", "window")}
    output = asdict(outcome.kept.blob) | {"rows": outcome.kept.rows}
    return {**outcome.result, **asked, "output": output, "environment": dict(outcome.environment)}


def _limited(spec: Json, frequency: timedelta) -> None:
    """Raises Invalid for what makes no steps, or too many."""
    planned = origins(spec)
    step, horizon = (_duration(spec[name], name) for name in ("step", "horizon"))
    if step % frequency:
        raise errors.Invalid({"step": f"The step must be a multiple of the model's frequency ({durations.format_frequency(frequency)})."})
    if len(planned) * (horizon / frequency) > MAX_ROWS:
        raise errors.Invalid({"step": f"The steps hold more than {MAX_ROWS:,} rows; ask for longer steps, or a shorter range or horizon."})
    if spec["refit"] != "never" and len(planned) / spec["refit"] > MAX_FITS:
        raise errors.Invalid({"refit": f"That is more than {MAX_FITS:,} trainings; refit less often, or ask for a shorter range."})


def _refit(value: int | str) -> int | str:
    if value == "never":
        return value
    found = _EVERY.fullmatch(str(value).strip())
    if isinstance(value, bool) or found is None or int(found[1]) < 1:
        raise errors.Invalid({"refit": "Write never, or after how many steps to fit anew: 1, 7 .."})
    return int(found[1])


def _training(value: str | Mapping[str, Any]) -> dict[str, str | None]:
    if isinstance(value, str):
        value = {"type": EXPANDING} if value == EXPANDING else {"type": ROLLING, "length": value}
    odd = sorted(set(value) - {"type", "length"})
    if odd:
        raise errors.Invalid({f"window.{odd[0]}": "Unknown field; a window has a type and a length."})
    kind, length = value.get("type", ROLLING), value.get("length")
    if kind not in (ROLLING, EXPANDING):
        raise errors.Invalid({"window": f"Write a duration such as {USUAL_WINDOW}, or {EXPANDING}; as type {ROLLING} or {EXPANDING}."})
    if length is None and kind == ROLLING:
        raise errors.Invalid({"window": f"Say how long the training data is, such as {USUAL_WINDOW}."})
    if length is not None and not timedelta(0) < _duration(length, "window") <= timedelta(days=36_500):
        raise errors.Invalid({"window": "The training data must be longer than zero, and shorter than a century."})
    return {"type": kind, "length": length}


def _duration(text: Any, field: str) -> timedelta:
    try:
        return durations.parse_duration(text)
    except (ValueError, AttributeError) as error:
        raise errors.Invalid({field: f"{error}." if isinstance(error, ValueError) else "Write a duration such as P1D."}) from None
