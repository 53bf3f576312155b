"""The outbox: events are rows written by the transaction whose change they tell of."""

from alembic import op

revision = "001"
down_revision = "000"
branch_labels = None
depends_on = None
LOSES = ("events",)


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE events (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            type text NOT NULL,
            timestamp timestamptz NOT NULL,
            data jsonb NOT NULL
        );
        CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
            FOR EACH STATEMENT EXECUTE FUNCTION mlsys_refuse_change();
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE events")
