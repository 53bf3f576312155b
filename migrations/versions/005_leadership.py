"""Who leads: an epoch that rises with each leader, and until when by the database's clock. Working state."""

from alembic import op

revision = "005"
down_revision = "004"
branch_labels = None
depends_on = None
LOSES: tuple[str, ...] = ()


def upgrade() -> None:
    # a key over the epoch as well: changing it then waits for those who hold it shared, and renewing the lease does not
    op.execute(
        """
        CREATE TABLE leadership (
            role text PRIMARY KEY,
            epoch bigint NOT NULL,
            expires_at timestamptz NOT NULL,
            UNIQUE (role, epoch)
        );
        INSERT INTO leadership (role, epoch, expires_at) VALUES ('leader', 0, now());
        CREATE VIEW mlsys_as_of.leadership AS SELECT * FROM leadership;
        """
    )


def downgrade() -> None:
    op.execute("DROP VIEW mlsys_as_of.leadership")
    op.execute("DROP TABLE leadership")
