"""The SQL of the run registry. Each state change is one statement, with its line of history and its event."""

import sqlalchemy as sa

from mlsys.registry.room import BESIDE_OTHERS
from mlsys.storage.prepared import Prepared

NOT_DURABLE = "SET LOCAL synchronous_commit = off;"
# Without statistics, or with those of an empty queue, the planner sorts all that wait to find the first; the index has them in order.
IN_ORDER = "SET LOCAL enable_sort = off;"

_TOLD = """
told AS (
    INSERT INTO run_history (run_id, status, attempt, at, detail)
    SELECT id, :status, attempt, :at, CAST(:detail AS jsonb) FROM moved
), news AS (
    SELECT jsonb_build_object('run_id', id, 'kind', kind, 'model_name', model_name, 'attempt', attempt,
                              'status', CAST(:status AS text)) || CAST(:detail AS jsonb) AS data FROM moved
), event AS (
    INSERT INTO events (type, timestamp, data) SELECT :event, :at, data FROM news WHERE CAST(:event AS text) IS NOT NULL
)
"""
_TELLS = {"status": "text", "event": "text", "detail": "text", "at": "timestamptz"}
ADD = Prepared(
    "add_run",
    f"""
WITH number AS MATERIALIZED (
    SELECT nextval('runs_seq_seq') AS seq FROM (SELECT CASE WHEN :last IS NOT NULL THEN {BESIDE_OTHERS} END) AS beside_others
), added AS (
    INSERT INTO runs (seq, id, kind, model_name, trigger, spec, created_at) OVERRIDING SYSTEM VALUE
    SELECT seq, :id, :kind, :model_name, CAST(:trigger AS jsonb), CAST(:spec AS jsonb), :at FROM number
    WHERE :last IS NULL OR (seq > :first AND seq <= :last)
    RETURNING seq, id, kind, model_name
), state AS (
    INSERT INTO run_state (run_id, run_seq, status, attempt, priority) SELECT id, seq, :status, 1, :priority FROM added
), moved AS (SELECT id, kind, model_name, 1 AS attempt FROM added),
{_TOLD}
SELECT data FROM news
""",
    **dict.fromkeys(("id", "kind", "model_name", "trigger", "spec"), "text"),
    **_TELLS,
    priority="integer",
    first="bigint",
    last="bigint",
)
# what no two running runs may have in common: the model, for kinds that want it alone, and the schedule whose firings queue up
_EXCLUSIVE = """CASE WHEN r.kind = ANY (CAST(:alone AS text[])) THEN r.kind || ' ' || r.model_name
    WHEN r.trigger ->> 'type' = 'schedule' THEN 'schedule ' || (r.trigger ->> 'schedule') END"""
# of two that claim runs of one model at the same instant, neither sees the other: the unique index refuses the second
CLAIM = Prepared(
    "claim_run",
    f"""
WITH next AS (
    SELECT s.run_id FROM run_state s JOIN runs r ON r.id = s.run_id
    WHERE s.status = 'queued' AND (s.not_before IS NULL OR s.not_before <= clock_timestamp())
        AND (CAST(:among AS text[]) IS NULL OR s.run_id = ANY(:among)) AND s.run_id <> ALL (CAST(:apart AS text[]))
        AND NOT EXISTS (SELECT FROM run_state o WHERE o.exclusive = {_EXCLUSIVE} AND o.status IN ('running', 'cancelling'))
    ORDER BY s.priority DESC, s.run_seq LIMIT 1 FOR UPDATE OF s SKIP LOCKED
), moved AS (
    UPDATE run_state s SET status = :status, owner = :owner, started_at = :at, not_before = NULL,
        exclusive = {_EXCLUSIVE}
    FROM next n JOIN runs r ON r.id = n.run_id WHERE s.run_id = n.run_id
    RETURNING r.id, r.kind, r.model_name, s.attempt, r.created_at, s.priority,
        CAST(r.trigger AS text) AS trigger, CAST(r.spec AS text) AS spec
),
{_TOLD}
SELECT moved.*, data FROM moved, news
""",
    **_TELLS,
    owner="bigint",
    among="text[]",
    apart="text[]",
    alone="text[]",
)
MOVE = Prepared(
    "move_run",
    f"""
WITH moved AS (
    UPDATE run_state s SET
        status = :status,
        attempt = s.attempt + CASE WHEN :status = 'queued' THEN 1 ELSE 0 END,
        owner = CASE :status WHEN 'cancelling' THEN s.owner END,
        started_at = CASE WHEN :status <> 'queued' THEN s.started_at END,
        finished_at = CASE WHEN :status NOT IN ('queued', 'cancelling') THEN CAST(:at AS timestamptz) END,
        progress = CASE WHEN :status <> 'queued' THEN s.progress END,
        not_before = CASE WHEN :delay > 0 THEN clock_timestamp() + make_interval(secs => :delay) END
    FROM runs r
    WHERE r.id = s.run_id AND s.run_id = :id AND s.status = :expected
        AND (CAST(:held_by AS bigint) IS NULL OR s.owner = :held_by)
        AND (CAST(:held_attempt AS integer) IS NULL OR s.attempt = :held_attempt)
    RETURNING r.id, r.kind, r.model_name, s.attempt
),
{_TOLD}
SELECT data FROM news
""",
    **_TELLS,
    id="text",
    expected="text",
    held_by="bigint",
    held_attempt="integer",
    delay="double precision",
)
PROGRESS = sa.text(
    "UPDATE run_state SET progress = CAST(:progress AS jsonb) "
    "WHERE run_id = :id AND status = 'running' AND owner = :owner AND attempt = :attempt "
    "RETURNING set_config('synchronous_commit', 'off', true)"
)
HELD = sa.text("SELECT FROM run_state WHERE run_id = :id AND status = 'running' AND owner = :owner AND attempt = :attempt FOR SHARE")
LOG = sa.text("INSERT INTO run_logs (run_id, attempt, at, level, message) VALUES (:id, :attempt, :at, :level, :message)")
PRESENT = sa.text("SELECT status FROM run_state WHERE run_id = :id FOR UPDATE")
UNATTENDED = sa.text(
    """
SELECT run_id, attempt, status, owner FROM run_state
WHERE status IN ('running', 'cancelling') AND (owner IS NULL OR owner = :owner OR owner <> ALL (CAST(:alive AS bigint[])))
ORDER BY run_seq
"""
)
OLDEST = sa.text(
    """
SELECT (SELECT count(*) FROM run_state WHERE status = 'queued') AS queued,
    (SELECT r.created_at FROM run_state s JOIN runs r ON r.id = s.run_id
        WHERE s.status = 'queued' AND (s.not_before IS NULL OR s.not_before <= clock_timestamp()) ORDER BY s.run_seq LIMIT 1) AS queued_at,
    (SELECT min(started_at) FROM run_state WHERE status IN ('running', 'cancelling')) AS started_at
"""
)
READERS = sa.text(
    """
SELECT r.id, r.kind, r.model_name, v.model_version_id
FROM runs r
JOIN run_history h ON h.run_id = r.id AND h.status = 'succeeded'
LEFT JOIN model_versions v ON v.run_id = r.id
WHERE r.spec #>> '{definition,source,type}' = 'dataset' AND r.spec #>> '{definition,source,name}' = :dataset
    AND CAST(h.detail #>> '{result,data,start}' AS timestamptz) <= :end
    AND CAST(h.detail #>> '{result,data,end}' AS timestamptz) >= :start
ORDER BY r.seq DESC LIMIT :limit
"""
)
