"""When issued forecasts got too wrong: n judged days in a row beyond a limit raise ``accuracy.degraded``, once until a day is within it.

Every judgement starts from the last entry of the log and looks only at later days, under a lock and in one transaction with its event: so
neither a restart nor a second process nor a correction of old actuals raises anything twice.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from mlsys.events import types
from mlsys.monitoring.accuracy import Accuracy, Question
from mlsys.pipelines import definition as definitions
from mlsys.records import Episode, Json
from mlsys.registry.unit_of_work import Units

LOOKBACK = timedelta(days=60)  # before the last day that was forecast; older days are history
DAY = timedelta(days=1)
LOWER_IS_WORSE = ("skill", "coverage")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One day's figure against its bound. ``bound``: the tighter one of the limit and the share of the version's own hold-out score."""

    day: date
    value: float
    bound: float
    crossed: bool
    rows: int
    model_version_ids: tuple[str, ...]
    run_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Change:
    """``days``: those that led to it."""

    state: str
    days: Sequence[Judged]


class Degradation:
    def __init__(self, *, units: Units, accuracy: Accuracy) -> None:
        self._units = units
        self._accuracy = accuracy

    def watched(self) -> list[str]:
        """Models with a limit, by name."""
        with self._units() as unit:
            return [name for name, definition in unit.models.definitions() if limited(definition)]

    def close_unlimited(self) -> list[str]:
        """Ends the episodes of models that nobody sets a limit to any more (or that are gone from the file): no day will. Their names."""
        with self._units() as unit:
            limits = {name: limited(definition) for name, definition in unit.models.definitions()}
            ended = [name for name in unit.episodes.degraded() if not limits.get(name, False)]
            for name in ended:
                unit.episodes.lock(name)
                last = unit.episodes.open(name)
                if last is not None:
                    detail = {"model_name": name, "reason": "the model has no limit any more"}
                    unit.episodes.add(name, "recovered", first_day=last.last_day, last_day=last.last_day, detail=detail)
            unit.commit()
        return ended

    def judge(self, model_name: str) -> list[Change]:
        """Looks at the days since the last judgement; appends and tells what changed. Raises what Accuracy.report() does."""
        with self._units() as unit:
            definition = unit.models.get(model_name).definition
            settings, last = settings_of(definition), unit.episodes.last(model_name)
            now = unit.predictions.now(model_name)
            newest = unit.predictions.newest_timestamp(model_name, known_at=now)
        if newest is None or not limited(definition):
            return []
        zone = ZoneInfo(definition["timezone"])
        question = Question(model_name=model_name, known_at=now, start=_start(newest, last, zone), end=newest + DAY, by=("day",))
        if question.start is not None and question.end is not None and question.start >= question.end:
            return []
        days = self._judged(question, settings, definition)
        return self._conclude(model_name, settings, days)

    def _judged(self, question: Question, settings: Json, definition: Json) -> list[Judged]:
        found = self._accuracy.report(question)
        expected = max(1, DAY // definitions.layout(definition).frequency)
        enough = [one for one in found["by_day"] if one["rows"] >= settings["min_coverage"] * expected]
        own = self._holdouts({id for one in enough for id in one["model_version_ids"]}, settings["metric"])
        return list(_against(enough, settings, own))

    def _holdouts(self, versions: set[str], metric: str) -> dict[str, float]:
        """What each version scored on its own hold-out, where it has that figure."""
        with self._units() as unit:
            metrics = {id: unit.versions.get(id).metrics for id in versions}
        return {id: float(each[metric]) for id, each in metrics.items() if each.get(metric) is not None}

    def _conclude(self, model_name: str, settings: Json, days: Sequence[Judged]) -> list[Change]:
        with self._units() as unit:
            unit.episodes.lock(model_name)
            last = unit.episodes.last(model_name)
            found = changes(days, last, needed=settings["days"])
            for change in found:
                detail = told(model_name, settings, change)
                first, final = change.days[0].day, change.days[-1].day
                unit.episodes.add(model_name, change.state, first_day=first, last_day=final, detail=detail)
                if change.state == "degraded":
                    unit.events.append(types.ACCURACY_DEGRADED, detail)
            unit.commit()
        return found


def settings_of(definition: Json) -> Json:
    """Definitions that were declared before there were such settings have none."""
    return definition.get("accuracy") or definitions.no_limits()


def limited(definition: Json) -> bool:
    settings = settings_of(definition)
    return settings["limit"] is not None or settings["ratio"] is not None


def changes(days: Sequence[Judged], last: Episode | None, *, needed: int) -> list[Change]:
    """What happened after ``last``, day by day: ``needed`` crossed days in a row degrade, the first day within the bound recovers."""
    degraded = last is not None and last.state == "degraded"
    found: list[Change] = []
    streak: list[Judged] = []
    for day in days:
        if last is not None and day.day <= last.last_day:
            continue
        streak = [*streak, day] if day.crossed else []
        if degraded and not day.crossed:
            found.append(Change(state="recovered", days=[day]))
            degraded = False
        elif not degraded and len(streak) >= needed:
            found.append(Change(state="degraded", days=streak))
            degraded, streak = True, []
    return found


def told(model_name: str, settings: Json, change: Change) -> dict[str, Any]:
    """The event's data: numbers, limit, days, version."""
    last = change.days[-1]
    return {
        "model_name": model_name,
        "model_version_id": last.model_version_ids[-1] if last.model_version_ids else None,
        "metric": settings["metric"],
        "limit": settings["limit"],
        "ratio": settings["ratio"],
        "days": len(change.days),
        "first_day": str(change.days[0].day),
        "last_day": str(last.day),
        "values": [{**asdict(one), "day": str(one.day)} for one in change.days],
    }


def _against(days: Sequence[Json], settings: Json, own: Json) -> Iterator[Judged]:
    """Days that have the figure, and a bound to hold it against."""
    metric = settings["metric"]
    tighter: Callable[..., float] = max if metric in LOWER_IS_WORSE else min
    for one in days:
        value = one[metric]
        scores = [own[id] for id in one["model_version_ids"] if id in own]
        bounds = [settings["limit"]] if settings["limit"] is not None else []
        bounds += [settings["ratio"] * abs(tighter(scores))] if scores and settings["ratio"] is not None else []
        if value is None or not bounds:
            continue
        value, bound = abs(value) if metric == "bias" else value, tighter(bounds)
        yield Judged(
            day=date.fromisoformat(one["day"]),
            value=value,
            bound=bound,
            crossed=value < bound if metric in LOWER_IS_WORSE else value > bound,
            rows=one["rows"],
            model_version_ids=tuple(one["model_version_ids"]),
            run_ids=tuple(one["run_ids"]),
        )


def _start(newest: datetime, last: Episode | None, zone: ZoneInfo) -> datetime:
    """The first instant that may matter: after the last entry, and no further back than LOOKBACK."""
    usual = newest - LOOKBACK
    if last is None:
        return usual
    return max(usual, datetime.combine(last.last_day + DAY, time(), tzinfo=zone).astimezone(UTC))
