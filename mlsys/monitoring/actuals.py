"""Actuals from a model's own source, kept for as long as the source looks the same: a page that is looked at again reads nothing anew."""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlsys import errors
from mlsys.execution import sources
from mlsys.pipelines.base import Ports
from mlsys.records import Json, Window
from mlsys.registry.unit_of_work import Units

if TYPE_CHECKING:
    from mlsys.monitoring.joined import ActiveOf
    from mlsys.pipelines.actuals import Series

KEPT = 8
UNREADABLE = (errors.Invalid, errors.BadData, errors.NotFound, errors.DamagedArtifact, errors.ConfigError)


@dataclass(frozen=True, kw_only=True)
class Found:
    """``series`` None: no source could be read, ``reason`` says why."""

    series: "Series | None"
    reason: str = ""


class Actuals:
    def __init__(self, *, units: Units, ports: Callable[[], Ports]) -> None:
        self._units = units
        self._ports = ports
        self._kept: OrderedDict[tuple[str, ...], Series] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, definitions: Sequence[Json], window: Window, *, known_at: datetime | None) -> Found:
        """From the first of these definitions whose source can be read. ``known_at`` counts where rows say when they became known."""
        reason = ""
        for definition in definitions:
            try:
                return Found(series=self._series(definition, window, known_at))
            except UNREADABLE as error:
                reason = reason or _worded(error)
        return Found(series=None, reason=f"The model's source cannot be read: {reason}")

    def active_of(self, definition: Json) -> "ActiveOf":
        """Tells of timestamps whether they are not known to be 0."""
        from mlsys.pipelines import actuals

        return lambda rows: actuals.active(definition, rows, self._ports())

    def _series(self, definition: Json, window: Window, known_at: datetime | None) -> "Series":
        from mlsys.pipelines import actuals

        with self._units() as unit:
            settled = sources.settled(unit, definition)
        known_at = known_at if settled["created_at"] is not None else None
        looks = self._looks(settled)
        key = (json.dumps([settled, looks], sort_keys=True), window.start.isoformat(), window.end.isoformat(), str(known_at))
        with self._lock:
            if looks is not None and key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = actuals.read(settled, window, known_at=known_at, ports=self._ports())
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _looks(self, definition: Json) -> Any:
        """What changes when the source does; None: it does not show."""
        source = definition["source"]
        if source["type"] == "dataset":
            with self._units() as unit:
                now = sources.standing(unit, source["name"])
            return [now.newest, now.generation]
        if "path" not in source:
            return None
        found = [path.stat() for path in self._ports().files.resolve(source["path"])]
        return [[one.st_ino, one.st_size, one.st_mtime_ns] for one in found]


def _worded(error: errors.MlsysError) -> str:
    """Without the names of fields, of which the reader has sent none."""
    return " ".join(text for texts in error.fields.values() for text in texts) if isinstance(error, errors.Invalid) else error.message
