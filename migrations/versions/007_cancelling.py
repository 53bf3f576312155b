"""Runs that are being cancelled, as they stood at an instant: they had not ended yet."""

from alembic import op

revision = "007"
down_revision = "006"
branch_labels = None
depends_on = None
LOSES: tuple[str, ...] = ()

CUT = "current_setting('mlsys.as_of')::timestamptz"


def view(going: str) -> str:
    """run_state as of an instant; ``going``: the states of a run that has not ended."""
    return f"""
CREATE OR REPLACE VIEW mlsys_as_of.run_state AS
    SELECT r.id AS run_id, r.seq AS run_seq, h.status, h.attempt, CAST(NULL AS bigint) AS owner, started.at AS started_at,
        CASE WHEN h.status NOT IN ({going}) THEN h.at END AS finished_at,
        CASE WHEN h.status NOT IN ({going}) AND s.status = h.status AND s.attempt = h.attempt THEN s.progress END AS progress
    FROM runs r
    JOIN run_state s ON s.run_id = r.id
    CROSS JOIN LATERAL (
        SELECT status, attempt, at FROM run_history WHERE run_id = r.id AND at <= {CUT} ORDER BY seq DESC LIMIT 1
    ) h
    LEFT JOIN LATERAL (
        SELECT at FROM run_history
        WHERE run_id = r.id AND attempt = h.attempt AND status = 'running' AND at <= {CUT} ORDER BY seq DESC LIMIT 1
    ) started ON true;
"""


def upgrade() -> None:
    op.execute(view("'queued', 'running', 'cancelling'"))


def downgrade() -> None:
    op.execute(view("'queued', 'running'"))
