"""The queue of runs: priorities, waits before a retry, one run of a kind at a time where that is asked; and which processes live."""

from alembic import op

revision = "011"
down_revision = "010"
branch_labels = None
depends_on = None
LOSES: tuple[str, ...] = ()

CUT = "current_setting('mlsys.as_of')::timestamptz"
GOING = "'queued', 'running', 'cancelling'"
VIEW = f"""
CREATE OR REPLACE VIEW mlsys_as_of.run_state AS
    SELECT r.id AS run_id, r.seq AS run_seq, h.status, h.attempt, CAST(NULL AS bigint) AS owner, started.at AS started_at,
        CASE WHEN h.status NOT IN ({GOING}) THEN h.at END AS finished_at,
        CASE WHEN h.status NOT IN ({GOING}) AND s.status = h.status AND s.attempt = h.attempt THEN s.progress END AS progress
        {{more}}
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
MORE = ", s.priority, CAST(NULL AS timestamptz) AS not_before, CAST(NULL AS text) AS exclusive"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE run_state
            ADD COLUMN priority integer NOT NULL DEFAULT 50,
            ADD COLUMN not_before timestamptz,
            ADD COLUMN exclusive text;
        CREATE INDEX run_state_queue ON run_state (priority DESC, run_seq) WHERE status = 'queued';
        CREATE UNIQUE INDEX run_state_exclusive ON run_state (exclusive) WHERE status IN ('running', 'cancelling');
        COMMENT ON COLUMN run_state.exclusive IS 'of a running run: what no other may be running for';

        CREATE TABLE processes (
            owner bigint PRIMARY KEY,
            beaten_at timestamptz NOT NULL
        );
        CREATE VIEW mlsys_as_of.processes AS SELECT * FROM processes;
        COMMENT ON TABLE processes IS 'who works on runs, and when it last said so, by the clock of the database';
        """
    )
    op.execute(VIEW.format(more=MORE))


def downgrade() -> None:
    op.execute("DROP VIEW mlsys_as_of.processes")
    op.execute("DROP TABLE processes")
    op.execute("DROP VIEW mlsys_as_of.run_state")
    op.execute("ALTER TABLE run_state DROP COLUMN priority, DROP COLUMN not_before, DROP COLUMN exclusive")
    op.execute(VIEW.format(more=""))
