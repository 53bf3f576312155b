"""The way into the queue: refuses what is too much, appends the run, and wakes the runner after the commit."""

import logging
from collections.abc import Callable

from mlsys import tracing
from mlsys.records import Json, Run
from mlsys.registry.room import Room
from mlsys.registry.unit_of_work import UnitOfWork
from mlsys.tracing import Tracer

_log = logging.getLogger(__name__)


class Queue:
    """``most``: runs that may wait (0: any number). Schedules do not come this way: a firing is never refused."""

    def __init__(self, *, launch: Callable[[str], None], most: int, tracer: Tracer) -> None:
        self._launch = launch
        self._room = Room(most=most) if most else None
        self._tracer = tracer

    def add(self, unit: UnitOfWork, *, kind: str, spec: Json, trigger: Json, priority: int | None = None) -> Run:
        """Commits the unit with the run in it. Raises Unavailable when the queue is full; then no run appears.

        Where requests are traced, the run's trigger says which span it came from: the run goes on there.
        """
        if (parent := self._tracer.traceparent()) is not None:
            trigger = {**trigger, tracing.HEADER: parent}
        run = unit.runs.append(kind=kind, model_name=spec["model_name"], trigger=trigger, spec=spec, priority=priority, room=self._room)
        unit.commit()
        _log.info("run %s is queued (%s %s)", run.id, run.kind, run.model_name)
        self._launch(run.id)
        return run
