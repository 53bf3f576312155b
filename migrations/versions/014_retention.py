"""What retention has freed: the stored bytes of versions, and what no row named. Append-only."""

from alembic import op

revision = "014"
down_revision = "013"
branch_labels = None
depends_on = None
LOSES = ("freed_blobs",)

TABLES = """
CREATE TABLE freed_blobs (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_version_id text REFERENCES model_versions (model_version_id),
    part text NOT NULL CHECK (part IN ('artifact', 'twin', 'leftover')),
    sha256 text NOT NULL,
    size bigint NOT NULL,
    policy text NOT NULL,
    at timestamptz NOT NULL,
    UNIQUE (model_version_id, part)
);
COMMENT ON COLUMN freed_blobs.model_version_id IS 'whose bytes they were; null: nobody had named them';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON freed_blobs
    FOR EACH STATEMENT EXECUTE FUNCTION mlsys_refuse_change();
CREATE VIEW mlsys_as_of.freed_blobs AS SELECT * FROM freed_blobs WHERE at <= current_setting('mlsys.as_of')::timestamptz;
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("DROP VIEW mlsys_as_of.freed_blobs")
    op.execute("DROP TABLE freed_blobs")
