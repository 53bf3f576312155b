"""The registries as they stood at an instant: views under the tables' own names, in a schema that a unit of work puts in front of theirs.

So every query of a repository answers for the past as it is, and one for the present does not even know of it. A migration that changes
a column of these tables makes the view of that table anew (a test compares the two).
"""

from alembic import op

revision = "004"
down_revision = "003"
branch_labels = None
depends_on = None
LOSES: tuple[str, ...] = ()

CUT = "current_setting('mlsys.as_of')::timestamptz"
BORN = {
    "models": "created_at",
    "runs": "created_at",
    "run_history": "at",
    "run_logs": "at",
    "model_versions": "created_at",
    "promotions": "created_at",
    "predictions": "created_at",
    "events": "timestamp",
    "datasets": "created_at",
    "dataset_files": "added_at",
    "dataset_freed": "at",
}
DERIVED = f"""
CREATE VIEW mlsys_as_of.dataset_replacements AS
    SELECT r.* FROM dataset_replacements r JOIN dataset_files f ON f.id = r.replaced_by WHERE f.added_at <= {CUT};

CREATE VIEW mlsys_as_of.run_state AS
    SELECT r.id AS run_id, r.seq AS run_seq, h.status, h.attempt, CAST(NULL AS bigint) AS owner, started.at AS started_at,
        CASE WHEN h.status NOT IN ('queued', 'running') THEN h.at END AS finished_at,
        CASE WHEN h.status NOT IN ('queued', 'running') AND s.status = h.status AND s.attempt = h.attempt THEN s.progress END AS progress
    FROM runs r
    JOIN run_state s ON s.run_id = r.id
    CROSS JOIN LATERAL (
        SELECT status, attempt, at FROM run_history WHERE run_id = r.id AND at <= {CUT} ORDER BY seq DESC LIMIT 1
    ) h
    LEFT JOIN LATERAL (
        SELECT at FROM run_history
        WHERE run_id = r.id AND attempt = h.attempt AND status = 'running' AND at <= {CUT} ORDER BY seq DESC LIMIT 1
    ) started ON true;

CREATE INDEX promotions_by_time ON promotions (model_name, created_at, sequence);
"""


def upgrade() -> None:
    op.execute("CREATE SCHEMA mlsys_as_of")
    for table, column in BORN.items():
        op.execute(f"CREATE VIEW mlsys_as_of.{table} AS SELECT * FROM {table} WHERE {column} <= {CUT}")
    op.execute(DERIVED)


def downgrade() -> None:
    op.execute("DROP SCHEMA mlsys_as_of CASCADE")
    op.execute("DROP INDEX promotions_by_time")
