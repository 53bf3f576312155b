"""The manifest of kept predictions, append-only: which file holds rows of which model and run, and since when. No row is looked at here."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from mlsys.clock import Clock
from mlsys.records import KeptRows, PredictionSource, Window
from mlsys.storage import tables


@dataclass(frozen=True, kw_only=True)
class PredictionFile:
    """A line of the manifest of kept predictions: what the reading of its rows needs."""

    id: int
    run_id: str
    model_version_id: str | None
    sha256: str
    rows: int
    series_key: tuple[str, ...]
    first_timestamp: datetime
    last_timestamp: datetime
    created_at: datetime


_p = tables.predictions.c
_FILE = [_p[name] for name in PredictionFile.__dataclass_fields__]
_INSERT = sa.text(
    """
INSERT INTO predictions (run_id, model_name, source, model_version_id, sha256, size, uri, rows, series_key, first_timestamp, last_timestamp,
    first_issued_at, last_issued_at, step_start, step_end, created_at)
VALUES (:run_id, :model_name, :source, :model_version_id, :sha256, :size, :uri, :rows, CAST(:series_key AS jsonb), :first_timestamp,
    :last_timestamp, :first_issued_at, :last_issued_at, :step_start, :step_end, :created_at)
ON CONFLICT (model_name, step_start, step_end) WHERE step_start IS NOT NULL DO NOTHING
"""
)


class PredictionRepository:
    def __init__(self, *, connection: sa.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def add(
        self,
        *,
        run_id: str,
        model_name: str,
        source: PredictionSource,
        model_version_id: str | None,
        kept: KeptRows,
        step: Window | None = None,
    ) -> bool:
        """Appends a line, stamped now; a backtest has no version.

        False: the rows of that ``step`` of a backfill are there already, and nothing was appended."""
        self._lock(model_name)
        values = {
            **{name: value for name, value in vars(kept).items() if name != "blob"},
            **vars(kept.blob),
            "run_id": run_id,
            "model_name": model_name,
            "source": source,
            "model_version_id": model_version_id,
            "series_key": json.dumps(kept.series_key),
            "step_start": step.start if step else None,
            "step_end": step.end if step else None,
            "created_at": self._stamp(model_name),
        }
        return bool(self._connection.execute(_INSERT, values).rowcount)

    def now(self, model_name: str) -> datetime:
        """An instant up to which the manifest will not change any more; nothing that is there was stored after it."""
        self._lock(model_name, shared=True)
        last = self._last(model_name)
        return self._clock.now() if last is None else max(self._clock.now(), last)

    def newest_timestamp(self, model_name: str, *, known_at: datetime, model_version_id: str | None = None) -> datetime | None:
        """The last one that had been forecast live by ``known_at``."""
        query = sa.select(sa.func.max(_p.last_timestamp)).where(_p.model_name == model_name, _p.source == "live", _p.created_at <= known_at)
        if model_version_id is not None:
            query = query.where(_p.model_version_id == model_version_id)
        found: datetime | None = self._connection.execute(query).scalar_one()
        return found

    def files(
        self,
        model_name: str,
        source: PredictionSource,
        *,
        window: Window | None,
        known_at: datetime,
        run_id: str | None = None,
        model_version_id: str | None = None,
    ) -> Sequence[PredictionFile]:
        """The files that can hold rows of the window stored by ``known_at``, oldest first. For good, if that is no later than now()."""
        query = sa.select(*_FILE).where(_p.model_name == model_name, _p.source == source, _p.created_at <= known_at)
        if run_id is not None:
            query = query.where(_p.run_id == run_id)
        if model_version_id is not None:
            query = query.where(_p.model_version_id == model_version_id)
        if window is not None:
            query = query.where(_p.first_timestamp < window.end, _p.last_timestamp >= window.start)
        rows = self._connection.execute(query.order_by(_p.id)).mappings()
        return [PredictionFile(**{**row, "series_key": tuple(row["series_key"])}) for row in rows]

    def steps(self, model_name: str, window: Window) -> set[tuple[datetime, datetime]]:
        """The steps of backfills (start, end) within the window whose rows are kept."""
        query = sa.select(_p.step_start, _p.step_end).where(_p.model_name == model_name, _p.step_start >= window.start)
        return {(row[0], row[1]) for row in self._connection.execute(query.where(_p.step_start < window.end))}

    def _lock(self, model_name: str, *, shared: bool = False) -> None:
        text = f"SELECT pg_advisory_xact_lock{'_shared' if shared else ''}(hashtextextended('predictions:' || :name, 0))"
        self._connection.execute(sa.text(text), {"name": model_name})

    def _stamp(self, model_name: str) -> datetime:
        """Never twice the same, never backwards, whatever the clock does."""
        last = self._last(model_name)
        now = self._clock.now()
        return now if last is None else max(now, last + timedelta(microseconds=1))

    def _last(self, model_name: str) -> datetime | None:
        found: datetime | None = self._connection.execute(
            sa.select(sa.func.max(_p.created_at)).where(_p.model_name == model_name)
        ).scalar_one()
        return found
