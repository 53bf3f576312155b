"""Schedules: the log of their definitions, where each stands, and one run a firing at most. Only schedule_state is working state."""

from alembic import op

revision = "009"
down_revision = "008"
branch_labels = None
depends_on = None
LOSES = ("schedules",)

CUT = "current_setting('mlsys.as_of')::timestamptz"
TABLES = """
CREATE TABLE schedules (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    definition jsonb NOT NULL,
    declared boolean NOT NULL,
    deleted boolean NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX schedules_by_name ON schedules (name, seq DESC);
COMMENT ON COLUMN schedules.declared IS 'by config.yaml; false: a change by the API or the command line';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON schedules
    FOR EACH STATEMENT EXECUTE FUNCTION mlsys_refuse_change();

CREATE TABLE schedule_state (
    name text PRIMARY KEY,
    first_seq bigint NOT NULL UNIQUE REFERENCES schedules (seq),
    seq bigint NOT NULL REFERENCES schedules (seq),
    next_fire_time timestamptz,
    last_fire_time timestamptz
) WITH (fillfactor = 70);
CREATE INDEX schedule_state_by_time ON schedule_state (next_fire_time) WHERE next_fire_time IS NOT NULL;

CREATE UNIQUE INDEX runs_by_firing ON runs ((trigger ->> 'schedule'), (trigger ->> 'fire_time')) WHERE trigger ->> 'fire_time' IS NOT NULL;
CREATE INDEX runs_by_schedule ON runs ((trigger ->> 'schedule'), seq DESC) WHERE trigger ->> 'schedule' IS NOT NULL;
"""
VIEWS = f"""
CREATE VIEW mlsys_as_of.schedules AS SELECT * FROM schedules WHERE created_at <= {CUT};

CREATE VIEW mlsys_as_of.schedule_state AS
    SELECT s.name, born.first_seq, s.seq, CAST(NULL AS timestamptz) AS next_fire_time, fired.at AS last_fire_time
    FROM (SELECT DISTINCT ON (name) name, seq, deleted FROM schedules WHERE created_at <= {CUT} ORDER BY name, seq DESC) s
    CROSS JOIN LATERAL (
        SELECT min(b.seq) AS first_seq FROM schedules b WHERE b.name = s.name AND b.seq > coalesce(
            (SELECT max(d.seq) FROM schedules d WHERE d.name = s.name AND d.deleted AND d.seq < s.seq), 0)
    ) born
    JOIN schedules f ON f.seq = born.first_seq
    LEFT JOIN LATERAL (
        SELECT CAST(r.trigger ->> 'fire_time' AS timestamptz) AS at FROM runs r
        WHERE r.trigger ->> 'schedule' = s.name AND r.trigger ->> 'fire_time' IS NOT NULL AND r.created_at <= {CUT}
            AND r.created_at >= f.created_at
        ORDER BY r.seq DESC LIMIT 1
    ) fired ON true
    WHERE NOT s.deleted;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(VIEWS)


def downgrade() -> None:
    op.execute("DROP VIEW mlsys_as_of.schedule_state, mlsys_as_of.schedules")
    op.execute("DROP INDEX runs_by_schedule, runs_by_firing")
    op.execute("DROP TABLE schedule_state, schedules")
