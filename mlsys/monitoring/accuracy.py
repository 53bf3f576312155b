"""How right issued forecasts were: those in force at each timestamp by day, all of them by lead time, against the actuals known now."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from mlsys import errors
from mlsys.clock import rfc3339
from mlsys.monitoring.actuals import Actuals
from mlsys.pipelines import definition as definitions
from mlsys.records import Json, Layout, Window
from mlsys.registry.predictions import PredictionFile
from mlsys.registry.unit_of_work import UnitOfWork, Units
from mlsys.timetravel.predictions import Asked, PredictionReader

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

USUAL = timedelta(days=366)  # looked back from the last forecast where no window is asked for
MAX_ROWS = 5_000_000
BY = ("day", "lead_time")


@dataclass(frozen=True, kw_only=True)
class Question:
    """``start`` and ``end`` of the timestamps (None: the last USUAL that were forecast); ``known_at``: forecasts stored up to then;
    ``actuals_at``: actuals known then (None: now); ``lead``: only rows issued so long before, from (included) and to."""

    model_name: str
    known_at: datetime
    actuals_at: datetime | None = None
    start: datetime | None = None
    end: datetime | None = None
    by: tuple[str, ...] = BY
    model_version_id: str | None = None
    lead: tuple[timedelta, timedelta] | None = None


@dataclass(frozen=True, kw_only=True)
class Joined:
    """``frame``: every issue with its actual; None: ``reason`` says why there is nothing to score."""

    layout: Layout
    window: Window | None
    frame: "pd.DataFrame | None" = None
    reason: str = ""


class Accuracy:
    def __init__(self, *, units: Units, predictions: PredictionReader, actuals: Actuals) -> None:
        self._units = units
        self._predictions = predictions
        self._actuals = actuals

    def report(self, question: Question) -> dict[str, Any]:
        """Figures with what is behind them; empty, with a reason, where nothing can be scored. Raises NotFound, Invalid."""
        from mlsys.monitoring import joined

        found = self.joined(question)
        told = _about(question, found)
        if found.frame is None:
            return told
        force = joined.newest(found.frame, found.layout)
        scored = joined.scorable(force)
        told |= {"rows": len(force), "scored_rows": len(scored), "late_rows": joined.late(scored)}
        if not len(scored):
            return told | {"reason": "None of the timestamps that were forecast has been measured yet."}
        told["overall"] = joined.overall(scored)
        if "day" in question.by:
            told["by_day"] = joined.by_day(scored, found.layout)
        if "lead_time" in question.by:
            told["by_lead_time"] = joined.by_lead_time(joined.scorable(found.frame), found.layout)
        return told

    def rows(self, question: Question) -> "pa.Table":
        """The rows behind the figures: those in force, or with ``by`` of lead_time alone every issue; measured or not yet."""
        from mlsys.monitoring import joined

        found = self.joined(question)
        if found.frame is None:
            return joined.nothing()
        frame = found.frame if question.by == ("lead_time",) else joined.newest(found.frame, found.layout)
        if question.lead is not None:
            low, high = (int(end / timedelta(microseconds=1)) for end in question.lead)
            frame = frame[(joined.leads(frame) >= low) & (joined.leads(frame) < high)]
        return joined.table(frame)

    def joined(self, question: Question) -> Joined:
        with self._units() as unit:
            definition = unit.models.get(question.model_name).definition
            layout = definitions.layout(definition)
            window = _window(unit, question, layout.frequency)
            inside = self._files(unit, question, window) if window else []
            issuers = _definitions(unit, definition, inside)
        if window is None or not inside:
            return Joined(layout=layout, window=window, reason="No forecasts were issued for these timestamps.")
        if sum(one.rows for one in inside) > MAX_ROWS:
            raise errors.Invalid({"start_date": f"More than {MAX_ROWS:,} rows were forecast then; ask for a shorter window."})
        asked = Asked(model_name=question.model_name, known_at=question.known_at, window=window, every_issue=True)
        with self._predictions.rows(replace(asked, model_version_id=question.model_version_id)) as reader:
            issued = reader.read_all()
        if not issued.num_rows:
            return Joined(layout=layout, window=window, reason="No forecasts were issued for these timestamps.")
        return self._beside(issued, issuers, question, Joined(layout=layout, window=window))

    def _files(self, unit: UnitOfWork, question: Question, window: Window) -> Sequence[PredictionFile]:
        return unit.predictions.files(
            question.model_name, "live", window=window, known_at=question.known_at, model_version_id=question.model_version_id
        )

    def _beside(self, issued: "pa.Table", issuers: list[Json], question: Question, about: Joined) -> Joined:
        import pyarrow.compute as pc

        from mlsys.monitoring import joined

        missing = [name for name in about.layout.series_key if name not in issued.column_names]
        if missing:
            return replace(about, reason=f"The forecasts have no column {missing[0]!r}: the model's series key was another then.")
        span = pc.min_max(issued["timestamp"]).as_py()
        window = Window(start=span["min"], end=span["max"] + about.layout.frequency)
        found = self._actuals.read(issuers, window, known_at=question.actuals_at)
        if found.series is None:
            return replace(about, reason=found.reason)
        return replace(about, frame=joined.join(issued, found.series, about.layout, self._actuals.active_of(issuers[0])))


def _window(unit: UnitOfWork, question: Question, frequency: timedelta) -> Window | None:
    """The one asked for; of an end that is left open, as far as there are forecasts. None: there are none."""
    newest = unit.predictions.newest_timestamp(question.model_name, known_at=question.known_at, model_version_id=question.model_version_id)
    if newest is None:
        return None
    end = question.end or max(newest + frequency, question.start or newest)
    return Window(start=question.start or min(end, newest + frequency) - USUAL, end=end)


def _definitions(unit: UnitOfWork, definition: Json, files: "Sequence[PredictionFile]") -> list[Json]:
    """The model's own, and for where its source cannot be read the one that the last forecast was made with: a request may name a file."""
    if not files:
        return [definition]
    spec = unit.runs.get(files[-1].run_id).spec
    other = {**definition, "source": spec["definition"]["source"], "created_at": spec["definition"]["created_at"]}
    return [definition] if other["source"] == definition["source"] else [definition, other]


def _about(question: Question, found: Joined) -> dict[str, Any]:
    return {
        "model_name": question.model_name,
        "start_date": rfc3339(found.window.start) if found.window else None,
        "end_date": rfc3339(found.window.end) if found.window else None,
        "known_at": rfc3339(question.known_at),
        "model_version_id": question.model_version_id,
        "rows": 0,
        "scored_rows": 0,
        "late_rows": 0,
        "reason": found.reason or None,
        "overall": None,
        "by_day": [],
        "by_lead_time": [],
    }
