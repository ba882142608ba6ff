"""What alembic runs: the steps, on the connection that `honeyguard.gateway.store.migrate` opened."""

from alembic import context

from honeyguard.gateway.store import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
