"""Finds runs that nobody works on: crashed ones whose process is gone, and queued ones that nobody has begun. At start, and on a timer."""

from collections.abc import Callable
from typing import Any

from mlsys.execution.periodic import Periodic
from mlsys.execution.presence import Presence
from mlsys.execution.runner import Runner
from mlsys.records import Run
from mlsys.registry.unit_of_work import UnitOfWork, Units

_INTERVAL = 5.0
_REASON = "The process that worked on this run died, or lost it."


class Recovery:
    """``delay``: seconds that the given attempt waits when it is the next."""

    def __init__(self, *, units: Units, runner: Runner, presence: Presence, max_attempts: int, delay: Callable[[int], float]) -> None:
        self._units = units
        self._runner = runner
        self._presence = presence
        self._max_attempts = max_attempts
        self._delay = delay
        self._suspects: set[tuple[str, int]] = set()
        self._heart = Periodic(name="heart", interval=presence.beat_seconds, act=self._beat)
        self._sweeps = Periodic(name="recovery", interval=_INTERVAL, act=self.sweep)
        self.threads = (self._heart.thread, self._sweeps.thread)

    def start(self) -> None:
        """Sweeps once before it returns, so that runs of a process that died are in good hands when the first request is served."""
        self.sweep()
        self._heart.start()
        self._sweeps.start()

    def stop(self) -> None:
        self._sweeps.stop()
        self._heart.stop()

    def health(self) -> dict[str, Any]:
        sweeps, heart = self._sweeps.health(), self._heart.health()
        status = next(word for word in ("down", "degraded", "ok") if word in (sweeps["status"], heart["status"]))
        return {"status": status, "seconds_since_sweep": sweeps["seconds_since"], "seconds_since_beat": heart["seconds_since"]}

    def sweep(self) -> None:
        """Marks and requeues the crashed, then has the queue looked at."""
        self._presence.beat()
        alive = self._presence.alive()
        with self._units() as unit:
            self._requeue_crashed(unit, alive)
            unit.commit()
        self._runner.wake()

    def _requeue_crashed(self, unit: UnitOfWork, alive: Any) -> None:
        """Runs of dead processes, and of this one that no thread works on: a claim whose answer was lost, if it is seen twice."""
        unattended = unit.runs.unattended(alive=alive, owner=self._presence.owner)
        mine = self._runner.pending
        idle = {(run.id, run.attempt) for run, own in unattended if own and run.id not in mine}
        for run, own in unattended:
            if not own or (run.id, run.attempt) in idle & self._suspects:
                self._crashed(unit, run)
        self._suspects = idle

    def _crashed(self, unit: UnitOfWork, run: Run) -> None:
        final = run.attempt >= self._max_attempts
        if run.status == "cancelling":  # stopped, if not in the way that was meant
            unit.runs.cancelled(run.id, attempt=run.attempt)
        elif unit.runs.crash(run.id, attempt=run.attempt, reason=_REASON, final=final) and not final:
            # the first time nothing speaks against the run itself
            unit.runs.requeue(run.id, expected="crashed", delay=self._delay(run.attempt - 1) if run.attempt > 1 else 0)

    def _beat(self) -> None:
        self._presence.beat()
