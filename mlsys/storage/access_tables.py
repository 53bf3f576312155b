"""The tables of access tokens and sessions, in the same metadata as the others."""

from sqlalchemy import BigInteger, Column, DateTime, Table, Text

from mlsys.storage.tables import metadata

_INSTANT = DateTime(timezone=True)

tokens = Table(
    "tokens",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", _INSTANT),
)
token_revocations = Table(
    "token_revocations",
    metadata,
    Column("token_id", Text, primary_key=True),
    Column("at", _INSTANT, nullable=False),
    Column("revoked_by", Text, nullable=False),
)
token_uses = Table(
    "token_uses",
    metadata,
    Column("token_id", Text, primary_key=True),
    Column("at", _INSTANT, nullable=False),
)
sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("token_id", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
)
