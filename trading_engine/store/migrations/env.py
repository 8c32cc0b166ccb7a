"""Alembic's entry: run the revisions on the connection that `Store.migrate` hands over, inside its transaction."""

from alembic import context

from trading_engine.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite too: the transaction was begun by hand
)
context.run_migrations()
