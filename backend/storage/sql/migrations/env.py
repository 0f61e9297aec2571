"""How Alembic runs the revisions: over the connection, and in the transaction, of `migrate`."""

from alembic import context

from backend.storage.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
)
context.run_migrations()
