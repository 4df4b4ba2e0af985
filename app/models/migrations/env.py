"""Alembic's entry: runs on the connection that ``app.models.migration`` hands over."""

from alembic import context

from app.models.migration import METADATA

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=METADATA,
    # SQLite can't alter a column in place.
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
