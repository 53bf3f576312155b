"""Access tokens: who was given one and who took it back, both logs; when each was last used, and the sessions of browsers.

No secret lies here, only digests that nobody can turn back (mlsys/access/credentials.py).
"""

from alembic import op

revision = "013"
down_revision = "012"
branch_labels = None
depends_on = None
LOSES = ("tokens",)
NAMES = ("tokens", "token_revocations", "token_uses", "sessions")

CUT = "current_setting('mlsys.as_of')::timestamptz"
TABLES = """
CREATE TABLE tokens (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE,
    name text NOT NULL,
    scope text NOT NULL CHECK (scope IN ('read', 'run', 'promote', 'admin')),
    digest text NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    expires_at timestamptz
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tokens
    FOR EACH STATEMENT EXECUTE FUNCTION mlsys_refuse_change();

CREATE TABLE token_revocations (
    token_id text PRIMARY KEY REFERENCES tokens (id),
    at timestamptz NOT NULL,
    revoked_by text NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON token_revocations
    FOR EACH STATEMENT EXECUTE FUNCTION mlsys_refuse_change();

CREATE TABLE token_uses (
    token_id text PRIMARY KEY REFERENCES tokens (id),
    at timestamptz NOT NULL
) WITH (fillfactor = 70);
COMMENT ON COLUMN token_uses.at IS 'to the minute: written once in a while, never by each request';

CREATE TABLE sessions (
    id text PRIMARY KEY,
    token_id text NOT NULL REFERENCES tokens (id),
    digest text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
"""
VIEWS = f"""
CREATE VIEW mlsys_as_of.tokens AS SELECT * FROM tokens WHERE created_at <= {CUT};
CREATE VIEW mlsys_as_of.token_revocations AS SELECT * FROM token_revocations WHERE at <= {CUT};
CREATE VIEW mlsys_as_of.token_uses AS SELECT * FROM token_uses;
CREATE VIEW mlsys_as_of.sessions AS SELECT * FROM sessions;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(VIEWS)


def downgrade() -> None:
    for name in NAMES:
        op.execute(f"DROP VIEW mlsys_as_of.{name}")
    op.execute("DROP TABLE sessions, token_uses, token_revocations, tokens")
