"""Run by Alembic, on the connection that `runlink.store.schema` hands over."""

from alembic import context

from runlink.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
context.run_migrations()
