"""From a schedule and a window to the spec of a run, by the use case of its kind."""

from collections.abc import Callable, Mapping
from typing import Any

from mlsys import errors
from mlsys.clock import rfc3339
from mlsys.execution.backfill import BackfillRequest, BackfillService
from mlsys.execution.backtest import BacktestRequest, BacktestService
from mlsys.execution.requests import PredictRequest, TrainRequest
from mlsys.execution.service import JobService
from mlsys.records import Schedule, Window
from mlsys.registry.unit_of_work import UnitOfWork

Makers = Mapping[str, Callable[[UnitOfWork, Schedule, Window], dict[str, Any]]]
"""By kind: looks up what a run of a schedule needs. Raises Invalid, NotFound or Conflict for what cannot run."""


def makers(*, jobs: JobService, backfills: BackfillService, backtests: BacktestService) -> Makers:
    return {
        "train": lambda unit, schedule, window: jobs.training(unit, TrainRequest(**_asked(schedule, window), params=schedule.params)),
        "predict": lambda unit, schedule, window: jobs.prediction(unit, PredictRequest(**_asked(schedule, window))),
        "backfill": lambda unit, schedule, window: backfills.spec(unit, BackfillRequest(**_asked(schedule, window), **schedule.params)),
        "backtest": lambda unit, schedule, window: backtests.spec(unit, BacktestRequest(**_asked(schedule, window), **schedule.params)),
    }


class Specs:
    """For one transaction. What schedules of one model have in common is looked up once; only their windows differ."""

    def __init__(self, unit: UnitOfWork, makers: Makers) -> None:
        self._unit = unit
        self._makers = makers
        self._known: dict[tuple[str, str, str], dict[str, Any] | errors.MlsysError] = {}

    def of(self, schedule: Schedule, window: Window) -> dict[str, Any]:
        """Raises Invalid, NotFound or Conflict for what cannot run: no such model any more, no version in production."""
        key = (schedule.kind, schedule.model_name, repr(schedule.params))
        if key not in self._known:
            try:
                self._known[key] = self._makers[schedule.kind](self._unit, schedule, window)
            except (errors.Invalid, errors.NotFound, errors.Conflict) as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, errors.MlsysError):
            raise found
        return {**found, **_dates(window)}


def plain(schedule: Schedule, window: Window) -> dict[str, Any]:
    """Enough to ask for the same again (POST /runs/{id}/retry), without looking anything up."""
    same: dict[str, Any] = {"model_name": schedule.model_name, **_dates(window), "file_path": None, "dataset": None, "known_at": None}
    return same | {"train": {"params": dict(schedule.params), "promote": "auto"}}.get(schedule.kind, {})


def _asked(schedule: Schedule, window: Window) -> dict[str, Any]:
    return {"model_name": schedule.model_name, "start_date": window.start, "end_date": window.end}


def _dates(window: Window) -> dict[str, str]:
    return {"start_date": rfc3339(window.start), "end_date": rfc3339(window.end)}
