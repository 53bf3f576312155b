"""How many runs may wait: exact, whichever processes queue at the same instant, and without a lock that one submit holds against another.

What waits is counted now and then, while all submits are held off for a moment. From then on it can have grown by no more than the numbers
that were given to runs since (one that is tried again was counted as it ran). So a run whose number lies close enough may wait without a
look at the queue; the nearer the limit, the more often it is counted.
"""

import sqlalchemy as sa

from mlsys import errors

_LOCK = f"{0x6D6C7175}, 1"  # "mlqu"
BESIDE_OTHERS = f"pg_advisory_xact_lock_shared({_LOCK})"
"""Held by every submit, before its run is given a number, to the end of its transaction."""
ATTEMPT = "SAVEPOINT submit;"
# what was attempted lets its shared lock go: two that wait for each other to do so would wait for good
_ALONE = f"ROLLBACK TO SAVEPOINT submit; SELECT pg_advisory_xact_lock({_LOCK})"
_COUNT = sa.text(
    """
SELECT (SELECT count(*) FROM (SELECT FROM run_state WHERE status = 'queued' LIMIT :most) q) AS queued,
    (SELECT count(*) FROM run_state WHERE status = 'running') AS running, (SELECT last_value FROM runs_seq_seq) AS last
"""
)


class Room:
    """``most``: runs that may wait. ``numbers`` (first, last): runs numbered above the first, up to the last, may wait without a count."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self.numbers = (0, 0)

    def count(self, connection: sa.Connection) -> None:
        """Counts what waits, and keeps others off until this transaction ends. Raises Unavailable when as many wait as may."""
        connection.exec_driver_sql(_ALONE)
        found = connection.execute(_COUNT, {"most": self._most}).one()
        self.numbers = (found.last, found.last + self._most - found.queued - found.running)
        if found.queued >= self._most:
            text = f"The queue is full: {self._most} runs wait (execution.max_queued). Try again when some of them are done."
            raise errors.Unavailable(text, retry_after=10)
