"""Webhooks: the log of their definitions, where each stands, their secrets; and deliveries, a row per (event, endpoint), with each attempt.

Only the definitions are a log. Deliveries are working state: retention takes those that arrived, and no others.
"""

from alembic import op

revision = "012"
down_revision = "011"
branch_labels = None
depends_on = None
LOSES = ("webhooks", "deliveries")

CUT = "current_setting('mlsys.as_of')::timestamptz"
TABLES = """
CREATE TABLE webhooks (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL,
    definition jsonb NOT NULL,
    deleted boolean NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX webhooks_by_id ON webhooks (id, seq DESC);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhooks
    FOR EACH STATEMENT EXECUTE FUNCTION mlsys_refuse_change();

CREATE TABLE webhook_state (
    webhook_id text PRIMARY KEY,
    first_seq bigint NOT NULL UNIQUE REFERENCES webhooks (seq),
    seq bigint NOT NULL REFERENCES webhooks (seq),
    enabled boolean NOT NULL,
    sequence bigint NOT NULL
) WITH (fillfactor = 70);
COMMENT ON COLUMN webhook_state.sequence IS 'the last event looked at for this endpoint; it stands still while that is not enabled';

CREATE TABLE webhook_secrets (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id text NOT NULL,
    sealed text NOT NULL,
    key_id text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz
);
CREATE INDEX webhook_secrets_by_webhook ON webhook_secrets (webhook_id, seq DESC);
COMMENT ON COLUMN webhook_secrets.key_id IS 'which key sealed it: one that another process may hold, or nobody any more';

CREATE TABLE deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id text NOT NULL,
    sequence bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts integer NOT NULL,
    tries integer NOT NULL,
    next_attempt_at timestamptz,
    first_attempt_at timestamptz,
    finished_at timestamptz,
    owner bigint,
    created_at timestamptz NOT NULL,
    UNIQUE (webhook_id, sequence)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX deliveries_due ON deliveries (webhook_id, next_attempt_at, sequence) WHERE state = 'pending';
CREATE INDEX deliveries_delivered ON deliveries (webhook_id, finished_at) WHERE state = 'delivered';
COMMENT ON COLUMN deliveries.tries IS 'attempts of the present round; a redelivery begins another';

CREATE TABLE delivery_attempts (
    delivery_id bigint NOT NULL,
    attempt integer NOT NULL,
    at timestamptz NOT NULL,
    status integer,
    latency_ms real NOT NULL,
    error text,
    next_attempt_at timestamptz,
    PRIMARY KEY (delivery_id, attempt)
);
"""
VIEWS = f"""
CREATE VIEW mlsys_as_of.webhooks AS SELECT * FROM webhooks WHERE created_at <= {CUT};
CREATE VIEW mlsys_as_of.webhook_state AS
    SELECT w.id AS webhook_id, (SELECT min(b.seq) FROM webhooks b WHERE b.id = w.id) AS first_seq, w.seq,
        CAST(w.definition ->> 'enabled' AS boolean) AS enabled, CAST(NULL AS bigint) AS sequence
    FROM (SELECT DISTINCT ON (id) * FROM webhooks WHERE created_at <= {CUT} ORDER BY id, seq DESC) w
    WHERE NOT w.deleted;
CREATE VIEW mlsys_as_of.webhook_secrets AS SELECT * FROM webhook_secrets;
CREATE VIEW mlsys_as_of.deliveries AS SELECT * FROM deliveries;
CREATE VIEW mlsys_as_of.delivery_attempts AS SELECT * FROM delivery_attempts;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(VIEWS)


def downgrade() -> None:
    for name in ("webhook_state", "webhooks", "webhook_secrets", "deliveries", "delivery_attempts"):
        op.execute(f"DROP VIEW mlsys_as_of.{name}")
    op.execute("DROP TABLE delivery_attempts, deliveries, webhook_secrets, webhook_state, webhooks")
