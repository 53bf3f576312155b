"""Idempotency keys: which request was carried out under which key, what it did and what was answered. Working state, for a day or so."""

from alembic import op

revision = "008"
down_revision = "007"
branch_labels = None
depends_on = None
LOSES: tuple[str, ...] = ()


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE idempotency_keys (
            scope text NOT NULL,
            key text NOT NULL,
            fingerprint text NOT NULL,
            effects jsonb NOT NULL,
            answer jsonb,
            created_at timestamptz NOT NULL,
            PRIMARY KEY (scope, key)
        );
        CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
        CREATE VIEW mlsys_as_of.idempotency_keys AS SELECT * FROM idempotency_keys;
        COMMENT ON COLUMN idempotency_keys.effects IS 'events of the transaction that wrote this row';
        COMMENT ON COLUMN idempotency_keys.answer IS 'null: on its way, or lost with the process that was to give it';
        """
    )


def downgrade() -> None:
    op.execute("DROP VIEW mlsys_as_of.idempotency_keys")
    op.execute("DROP TABLE idempotency_keys")
