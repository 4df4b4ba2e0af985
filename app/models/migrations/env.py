"""Alembic's entry point: runs the revisions on the connection that ``app.models.migration`` passes in."""

from alembic import context

from app.models.migration import METADATA

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=METADATA,
    # SQLite can't alter a column in place, so Alembic copies the table (batch mode).
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
