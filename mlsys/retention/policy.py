"""The rules, as they are set, and the words in which a removal is recorded."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True)
class Policy:
    """``newest`` versions of each model keep their bytes, and so do those younger than ``age``; what a promotion names always does.

    ``grace``: how long bytes that no row names may belong to a writer who will name them. ``lines`` and ``deliveries``: how long log lines
    of runs, and deliveries that arrived, are kept.
    """

    newest: int
    age: timedelta
    grace: timedelta
    lines: timedelta
    deliveries: timedelta

    @property
    def freed(self) -> str:
        """Why the bytes of a version went."""
        days = self.age / timedelta(days=1)
        return f"never in production, not among the newest {self.newest} versions of its model, older than {days:g} days"
