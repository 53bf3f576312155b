"""What retention asks of the registries and writes into them: versions whose bytes may go, what was freed, old lines. Decides no rule."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from mlsys.clock import Clock
from mlsys.records import Blob, Freeable
from mlsys.storage import tables

# kept whatever the rules say: what the promotion log names, what the next training is held against, what a run may need that goes on
_FREEABLE = sa.text(
    """
WITH going AS (
    SELECT r.kind, r.spec FROM run_state s JOIN runs r ON r.id = s.run_id
    WHERE s.status IN ('queued', 'running', 'cancelling') AND r.model_name = :model
)
SELECT v.model_version_id, v.model_name, v.version, v.artifact, v.twin FROM model_versions v
WHERE v.model_name = :model AND v.created_at < :before
    AND v.version <= (SELECT max(version) FROM model_versions WHERE model_name = :model) - :newest
    AND v.seq IS DISTINCT FROM (
        SELECT max(seq) FROM model_versions WHERE model_name = :model AND validation ->> 'decision' IN ('accepted', 'rejected')
    )
    AND NOT EXISTS (SELECT FROM freed_blobs f WHERE f.model_version_id = v.model_version_id)
    AND NOT EXISTS (
        SELECT FROM promotions p WHERE v.model_version_id IN (p.model_version_id, p.previous_model_version_id)
    )
    AND NOT EXISTS (
        SELECT FROM going g WHERE g.kind IN ('train', 'replay', 'backtest') OR g.spec ->> 'model_version_id' = v.model_version_id
    )
ORDER BY v.seq
"""
)
_OLD_LINES = """
SELECT seq FROM (SELECT seq, at FROM run_logs ORDER BY seq LIMIT :limit) AS oldest WHERE at < :before
"""
_FORGET_LINES = sa.text(f"DELETE FROM run_logs WHERE seq IN ({_OLD_LINES})")
_COUNT_LINES = sa.text("SELECT count(*) FROM run_logs WHERE at < :before")
_f = tables.freed_blobs.c


class RetentionRepository:
    def __init__(self, *, connection: sa.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def freeable(self, model_name: str, *, newest: int, before: datetime) -> Sequence[Freeable]:
        """Versions but the ``newest`` so many, made ``before``, that nothing needs any more. The caller holds the model's lock."""
        rows = self._connection.execute(_FREEABLE, {"model": model_name, "newest": newest, "before": before}).mappings()
        return [Freeable(**row | {"artifact": Blob(**row["artifact"]), "twin": Blob(**row["twin"])}) for row in map(dict, rows)]

    def free(self, version: Freeable, *, policy: str) -> None:
        """From now on the version's bytes are nobody's. Appended for good."""
        for part, blob in (("artifact", version.artifact), ("twin", version.twin)):
            self._note(part, blob.sha256, blob.size, policy=policy, model_version_id=version.model_version_id)

    def removed(self, sha256: str, size: int, *, policy: str) -> None:
        """Notes the removal of bytes that no row named, unless they are known to have been freed."""
        if not self._connection.scalar(sa.select(sa.exists().where(_f.sha256 == sha256))):
            self._note("leftover", sha256, size, policy=policy)

    def old_lines(self, *, before: datetime) -> int:
        """Log lines of runs that are older."""
        return int(self._connection.execute(_COUNT_LINES, {"before": before}).scalar_one())

    def forget_lines(self, *, before: datetime, limit: int) -> int:
        """Removes such lines, the oldest first, and returns how many; fewer than ``limit``: there are no more."""
        return self._connection.execute(_FORGET_LINES, {"before": before, "limit": limit}).rowcount

    def _note(self, part: str, sha256: str, size: int, *, policy: str, model_version_id: str | None = None) -> None:
        about = {"model_version_id": model_version_id, "part": part, "sha256": sha256, "size": size, "policy": policy}
        self._connection.execute(sa.insert(tables.freed_blobs).values(about | {"at": self._clock.now()}))
