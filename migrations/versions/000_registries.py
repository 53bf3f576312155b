"""Registries: models, runs, versions, promotions. Logs refuse UPDATE, DELETE and TRUNCATE; run_state alone is working state."""

from alembic import op

revision = "000"
down_revision = None
branch_labels = None
depends_on = None
LOSES = ("models", "runs", "model_versions", "promotions")
LOGS = ("models", "runs", "run_history", "model_versions", "promotions")

TABLES = """
CREATE TABLE models (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    definition jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX models_by_name ON models (name, seq DESC);

CREATE TABLE runs (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE,
    kind text NOT NULL,
    model_name text NOT NULL,
    trigger jsonb NOT NULL,
    spec jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX runs_by_model ON runs (model_name, seq DESC);
CREATE INDEX runs_by_kind ON runs (kind, seq DESC);
CREATE INDEX runs_by_trigger ON runs ((trigger ->> 'type'), seq DESC);

CREATE TABLE run_history (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL REFERENCES runs (id),
    status text NOT NULL,
    attempt integer NOT NULL,
    at timestamptz NOT NULL,
    detail jsonb NOT NULL
);
CREATE INDEX run_history_by_run ON run_history (run_id, seq);

CREATE TABLE run_state (
    run_id text PRIMARY KEY REFERENCES runs (id),
    run_seq bigint NOT NULL,
    status text NOT NULL,
    attempt integer NOT NULL,
    owner bigint,
    started_at timestamptz,
    finished_at timestamptz,
    progress jsonb
) WITH (fillfactor = 70);
CREATE INDEX run_state_by_status ON run_state (status, run_seq DESC);

CREATE TABLE run_logs (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL REFERENCES runs (id),
    attempt integer NOT NULL,
    at timestamptz NOT NULL,
    level text NOT NULL,
    message text NOT NULL
);
CREATE INDEX run_logs_by_run ON run_logs (run_id, seq);

CREATE TABLE model_versions (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_version_id text NOT NULL UNIQUE,
    model_name text NOT NULL,
    version integer NOT NULL,
    run_id text NOT NULL REFERENCES runs (id),
    created_at timestamptz NOT NULL,
    artifact jsonb NOT NULL,
    twin jsonb NOT NULL,
    twin_cutoff timestamptz NOT NULL,
    spec jsonb NOT NULL,
    metrics jsonb NOT NULL,
    validation jsonb NOT NULL,
    UNIQUE (model_name, version)
);

CREATE TABLE promotions (
    model_name text NOT NULL,
    sequence bigint NOT NULL,
    model_version_id text NOT NULL REFERENCES model_versions (model_version_id),
    previous_model_version_id text REFERENCES model_versions (model_version_id),
    below bigint,
    action text NOT NULL CHECK (action IN ('promote', 'demote', 'auto')),
    actor text NOT NULL,
    reason text,
    created_at timestamptz NOT NULL,
    previous_hash text,
    hash text NOT NULL,
    PRIMARY KEY (model_name, sequence),
    FOREIGN KEY (model_name, below) REFERENCES promotions (model_name, sequence)
);
CREATE INDEX promotions_by_version ON promotions (model_version_id);
COMMENT ON COLUMN promotions.below IS 'sequence of the entry that a demotion goes back to; null: nothing was in production before';

CREATE FUNCTION mlsys_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;
"""


def upgrade() -> None:
    op.execute(TABLES)
    for table in LOGS:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION mlsys_refuse_change()"
        )


def downgrade() -> None:
    op.execute("DROP TABLE run_logs, run_state, run_history, promotions, model_versions, runs, models")
    op.execute("DROP FUNCTION mlsys_refuse_change()")
