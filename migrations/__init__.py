"""Alembic migrations of mlsys' own tables; installed as the package ``mlsys.migrations``."""
