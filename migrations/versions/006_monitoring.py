"""Importances of versions, episodes of degraded accuracy, and kept predictions of backtests, which no version made. Append-only."""

from alembic import op

revision = "006"
down_revision = "005"
branch_labels = None
depends_on = None
LOSES = ("version_importances", "accuracy_episodes")

TABLES = """
CREATE TABLE version_importances (
    model_version_id text PRIMARY KEY REFERENCES model_versions (model_version_id),
    content jsonb NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE accuracy_episodes (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_name text NOT NULL,
    state text NOT NULL CHECK (state IN ('degraded', 'recovered')),
    first_day date NOT NULL,
    last_day date NOT NULL,
    detail jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (model_name, state, last_day)
);
COMMENT ON COLUMN accuracy_episodes.last_day IS 'days up to this one are judged for good: a correction raises nothing twice';
"""
RULE = "ALTER TABLE predictions ADD CONSTRAINT predictions_made_by_a_version CHECK (model_version_id IS NOT NULL OR source = 'backtest')"
BACK = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM predictions WHERE model_version_id IS NULL) THEN
        ALTER TABLE predictions ALTER COLUMN model_version_id SET NOT NULL;
    END IF;
END $$
"""


def upgrade() -> None:
    op.execute(TABLES)
    for table in LOSES:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION mlsys_refuse_change()"
        )
        cut = "current_setting('mlsys.as_of')::timestamptz"
        op.execute(f"CREATE VIEW mlsys_as_of.{table} AS SELECT * FROM {table} WHERE created_at <= {cut}")
    op.execute("ALTER TABLE predictions ALTER COLUMN model_version_id DROP NOT NULL")
    op.execute(RULE)


def downgrade() -> None:
    """Rows of backtests stay where they are: nothing is lost, and an older release reads them as well."""
    op.execute("ALTER TABLE predictions DROP CONSTRAINT predictions_made_by_a_version")
    op.execute(BACK)
    for table in LOSES:
        op.execute(f"DROP VIEW mlsys_as_of.{table}")
        op.execute(f"DROP TABLE {table}")
