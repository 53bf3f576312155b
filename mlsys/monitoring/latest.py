"""The figures of each model's last finished day, kept in memory for those who watch: to compute them takes reading files."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from typing import Any
from zoneinfo import ZoneInfo

from mlsys import errors
from mlsys.monitoring.accuracy import Accuracy, Question
from mlsys.monitoring.degradation import DAY, settings_of
from mlsys.pipelines import definition as definitions
from mlsys.records import Json
from mlsys.registry.unit_of_work import Units

_log = logging.getLogger(__name__)
LOOKBACK = timedelta(days=14)  # before the last day that was forecast
_EVERY_SECONDS = 60.0  # however many forecasts arrive


@dataclass(frozen=True, kw_only=True)
class DayFigures:
    """``begin``: of the local day. None: the day has no such figure."""

    begin: datetime
    mae: float | None
    skill: float | None
    coverage: float | None


class Latest:
    """A day has finished when it has passed in the model's time zone and enough of its rows are measured (``accuracy.min_coverage``)."""

    def __init__(self, *, units: Units, accuracy: Accuracy) -> None:
        self._units = units
        self._accuracy = accuracy
        self._days: Mapping[str, DayFigures] = {}
        self._renewed: float | None = None

    def days(self) -> Mapping[str, DayFigures]:
        """By model, of those that have such a day."""
        return self._days

    def renew(self, *, every_seconds: float = _EVERY_SECONDS) -> None:
        """Looks at all models, unless that was done just now."""
        if self._renewed is not None and time.monotonic() - self._renewed < every_seconds:
            return
        with self._units() as unit:
            models = unit.models.definitions()
        found = {name: self._last_day(name, definition) for name, definition in models}
        self._days = {name: day for name, day in found.items() if day is not None}
        self._renewed = time.monotonic()

    def _last_day(self, name: str, definition: Json) -> DayFigures | None:
        with self._units() as unit:
            now = unit.predictions.now(name)
            newest = unit.predictions.newest_timestamp(name, known_at=now)
        if newest is None:
            return None
        zone = ZoneInfo(definition["timezone"])
        today = datetime.combine(now.astimezone(zone).date(), time_of_day(), tzinfo=zone)
        end = min(newest + DAY, today)
        question = Question(model_name=name, known_at=now, start=end - LOOKBACK, end=end, by=("day",))
        try:
            days = self._accuracy.report(question)["by_day"]
        except errors.MlsysError as error:  # one model's data must not hide the others
            _log.debug("the accuracy of %s cannot be told: %s", name, error)
            return None
        expected = settings_of(definition)["min_coverage"] * max(1, DAY // definitions.layout(definition).frequency)
        finished = [day for day in days if day["rows"] >= expected]
        return _figures(finished[-1], zone) if finished else None


def _figures(day: Mapping[str, Any], zone: ZoneInfo) -> DayFigures:
    begin = datetime.combine(date.fromisoformat(day["day"]), time_of_day(), tzinfo=zone)
    return DayFigures(begin=begin, mae=day["mae"], skill=day["skill"], coverage=day["coverage"])
