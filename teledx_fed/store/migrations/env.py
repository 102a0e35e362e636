"""Alembic environment: migrate on the connection, and in the transaction, of the caller."""

from alembic import context

schema = context.config.attributes["schema"]
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    version_table=schema.version_table,
    render_as_batch=True,  # in SQLite, a change of a table copies it
)
with context.begin_transaction():
    context.run_migrations()
