"""Tells Alembic to run the revisions over the connection, and in the transaction, of `migrate`."""

from alembic import context

from backend.storage.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite can make many changes only by copying the table
)
context.run_migrations()
