"""Data sets: their definitions, the manifest of their files, what compaction replaced and what was removed since. All append-only."""

from alembic import op

revision = "002"
down_revision = "001"
branch_labels = None
depends_on = None
LOSES = ("datasets", "dataset_files")
LOGS = ("datasets", "dataset_files", "dataset_replacements", "dataset_freed")

TABLES = """
CREATE TABLE datasets (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    definition jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX datasets_by_name ON datasets (name, seq DESC);

CREATE TABLE dataset_files (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    rows bigint NOT NULL,
    first_timestamp timestamptz NOT NULL,
    last_timestamp timestamptz NOT NULL,
    first_created_at timestamptz NOT NULL,
    last_created_at timestamptz NOT NULL,
    stamped_at timestamptz,
    kind text NOT NULL CHECK (kind IN ('appended', 'compacted')),
    added_at timestamptz NOT NULL,
    UNIQUE (dataset, added_at)
);
CREATE UNIQUE INDEX dataset_files_by_sha256 ON dataset_files (sha256);
COMMENT ON COLUMN dataset_files.stamped_at IS 'created_at of all its rows; null: the file has a column that says it for each';

CREATE TABLE dataset_replacements (
    file bigint PRIMARY KEY REFERENCES dataset_files (id),
    replaced_by bigint NOT NULL REFERENCES dataset_files (id),
    dataset text NOT NULL
);
CREATE INDEX dataset_replacements_by_dataset ON dataset_replacements (dataset, replaced_by);

CREATE TABLE dataset_freed (
    file bigint PRIMARY KEY REFERENCES dataset_files (id),
    at timestamptz NOT NULL
);

CREATE INDEX runs_by_dataset ON runs ((spec #>> '{definition,source,name}'), seq)
    WHERE spec #>> '{definition,source,type}' = 'dataset';
"""


def upgrade() -> None:
    op.execute(TABLES)
    for table in LOGS:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION mlsys_refuse_change()"
        )


def downgrade() -> None:
    op.execute("DROP INDEX runs_by_dataset")
    op.execute("DROP TABLE dataset_freed, dataset_replacements, dataset_files, datasets")
