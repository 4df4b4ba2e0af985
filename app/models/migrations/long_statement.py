"""Runs statements of migrations that read or write a whole table, which may take longer than other statements."""

from typing import Any

from alembic import op

SECONDS = 3600


def execute_long(statement: str) -> None:
    """Execute a statement without parameters, with a timeout of an hour on PostgreSQL; SQLite has none."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        op.execute(statement)
        return

    async def execute(driver: Any) -> None:  # noqa: ANN401  Drivers have no type in common.
        await driver.execute(statement, timeout=SECONDS)

    adapted: Any = connection.connection.dbapi_connection
    adapted.run_async(execute)
