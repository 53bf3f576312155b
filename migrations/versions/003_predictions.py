"""Kept predictions: a line for each stored file of rows. Append-only."""

from alembic import op

revision = "003"
down_revision = "002"
branch_labels = None
depends_on = None
LOSES = ("predictions",)

TABLES = """
CREATE TABLE predictions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL REFERENCES runs (id),
    model_name text NOT NULL,
    source text NOT NULL CHECK (source IN ('live', 'backfill', 'replay', 'backtest')),
    model_version_id text NOT NULL REFERENCES model_versions (model_version_id),
    sha256 text NOT NULL,
    size bigint NOT NULL,
    uri text NOT NULL,
    rows bigint NOT NULL,
    series_key jsonb NOT NULL,
    first_timestamp timestamptz NOT NULL,
    last_timestamp timestamptz NOT NULL,
    first_issued_at timestamptz NOT NULL,
    last_issued_at timestamptz NOT NULL,
    step_start timestamptz,
    step_end timestamptz,
    created_at timestamptz NOT NULL
);
CREATE INDEX predictions_by_time ON predictions (model_name, source, last_timestamp);
CREATE INDEX predictions_by_arrival ON predictions (model_name, created_at);
CREATE INDEX predictions_by_run ON predictions (run_id);
CREATE UNIQUE INDEX predictions_by_step ON predictions (model_name, step_start, step_end) WHERE step_start IS NOT NULL;
COMMENT ON COLUMN predictions.step_start IS 'of the rows of a backfill the step they are for; null: a run of its own';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON predictions
    FOR EACH STATEMENT EXECUTE FUNCTION mlsys_refuse_change();
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("DROP TABLE predictions")
