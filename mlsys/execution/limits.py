"""How much is done at once, how often, and for how long. Values only; who keeps to them is elsewhere."""

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from mlsys.records import Run

_LONGEST = 600.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """``alone``: kinds of which a model has one run at a time; ``timeouts``: seconds by kind or by model's name."""

    workers: int
    max_attempts: int
    retry_seconds: float
    alone: Collection[str] = ()
    timeouts: Mapping[str, float] = field(default_factory=dict)

    def timeout(self, run: Run) -> float | None:
        """Seconds that a run may take: the shorter where both its kind and its model have a limit."""
        return min((self.timeouts[name] for name in (run.kind, run.model_name) if name in self.timeouts), default=None)

    def delay(self, attempt: int) -> float:
        """Seconds to wait after an attempt: twice as long each time, and not for all runs the same."""
        longest = min(self.retry_seconds * 2.0 ** (attempt - 1), _LONGEST)
        return longest * random.uniform(0.8, 1.2)
