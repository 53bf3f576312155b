"""The event log's numbers: one gap-free sequence, given to committed events by the leader. The queue holds those that have none yet."""

from alembic import op

revision = "010"
down_revision = "009"
branch_labels = None
depends_on = None
LOSES = ("event_sequence",)


def upgrade() -> None:
    # the trigger waits for whoever is writing events and keeps out others: what is committed then is numbered here, the rest is queued
    op.execute(
        """
        CREATE TABLE event_queue (
            event_id bigint PRIMARY KEY
        ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
        CREATE FUNCTION mlsys_queue_event() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO event_queue (event_id) VALUES (NEW.id);
            RETURN NULL;
        END $$;
        CREATE TRIGGER queued AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION mlsys_queue_event();

        CREATE TABLE event_sequence (
            sequence bigint PRIMARY KEY,
            event_id bigint NOT NULL UNIQUE
        );
        INSERT INTO event_sequence (sequence, event_id) SELECT row_number() OVER (ORDER BY id), id FROM events;
        CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event_sequence
            FOR EACH STATEMENT EXECUTE FUNCTION mlsys_refuse_change();

        CREATE TABLE event_cursors (
            sink text PRIMARY KEY,
            sequence bigint NOT NULL,
            moved_at timestamptz NOT NULL
        );
        CREATE VIEW mlsys_as_of.event_queue AS SELECT * FROM event_queue;
        CREATE VIEW mlsys_as_of.event_sequence AS SELECT s.* FROM event_sequence s JOIN mlsys_as_of.events e ON e.id = s.event_id;
        CREATE VIEW mlsys_as_of.event_cursors AS SELECT * FROM event_cursors;
        COMMENT ON COLUMN event_cursors.sequence IS 'the last event that the sink has taken';
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP VIEW mlsys_as_of.event_queue, mlsys_as_of.event_sequence, mlsys_as_of.event_cursors;
        DROP TABLE event_cursors, event_sequence;
        DROP TRIGGER queued ON events;
        DROP FUNCTION mlsys_queue_event;
        DROP TABLE event_queue;
        """
    )
