"""Widen token counts to 64 bits on PostgreSQL. SQLite's integers have 64 bits already."""

from typing import Any

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TABLES = ("conversation", "event")
_LARGEST_INTEGER = 2**31 - 1
_SECONDS = 3600


def upgrade() -> None:
    for table in _TABLES:
        _alter(table, "ALTER COLUMN {} TYPE BIGINT")


def downgrade() -> None:
    for table in _TABLES:
        _alter(table, f"ALTER COLUMN {{0}} TYPE INTEGER USING LEAST({{0}}, {_LARGEST_INTEGER})")


def _alter(table: str, change: str) -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    # All columns change in one statement, since each statement copies the whole table.
    changes = ", ".join(change.format(column) for column in ("prompt_tokens", "completion_tokens"))

    async def execute(driver: Any) -> None:  # noqa: ANN401  Drivers have no type in common.
        await driver.execute(f"ALTER TABLE {table} {changes}", timeout=_SECONDS)

    # Copying a large table takes longer than the usual statement timeout.
    adapted: Any = connection.connection.dbapi_connection
    adapted.run_async(execute)
