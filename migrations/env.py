"""Runs migrations on the connection that mlsys.storage.migrate gives. There is no other way in: no URL of its own, no offline mode."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], version_table="mlsys_revision", transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
