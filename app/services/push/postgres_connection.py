"""A single connection to PostgreSQL outside any pool, for LISTEN and advisory locks, which belong to a connection."""

# asyncpg's own annotations leave most types open; this module hides that from its callers.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportArgumentType=false

from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
from sqlalchemy.engine import URL

TIMEOUT_SECONDS = 10.0

CONNECTION_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""Exceptions of calls on a connection."""


class PostgresConnection:
    """Every call has a timeout of 10 s and raises ``CONNECTION_ERRORS``."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401  asyncpg's class has no usable type.
        self._connection = connection

    @classmethod
    async def open(cls, url: URL) -> "PostgresConnection":
        """Connect with the credentials in the URL."""
        dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        connection = await asyncpg.connect(dsn, timeout=TIMEOUT_SECONDS, command_timeout=TIMEOUT_SECONDS)
        return cls(connection)

    @property
    def is_closed(self) -> bool:
        """Tell whether it was closed or lost."""
        return bool(self._connection.is_closed())

    def close(self) -> None:
        """Close at once, whereupon the server releases the connection's locks."""
        self._connection.terminate()

    def on_lost(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` when the connection is closed or lost."""

        def ended(_connection: object) -> None:
            tell()

        self._connection.add_termination_listener(ended)

    async def ping(self) -> None:
        """Check that the connection is alive."""
        await self._connection.execute("SELECT 1")

    async def listen(self, channel: str, hear: Callable[[str], None]) -> None:
        """Call ``hear`` with every payload that is sent on the channel."""

        def heard(_connection: object, _process_id: int, _channel: str, payload: object) -> None:
            hear(str(payload))

        await self._connection.add_listener(channel, heard)

    async def tell(self, channel: str, payloads: Sequence[str]) -> None:
        """Send payloads on a channel, in order, with one statement."""
        statement = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"
        await self._connection.execute(statement, channel, list(payloads))

    async def lock(self, key: int) -> None:
        """Wait for the advisory lock, and hold it until ``unlock`` or the connection's end."""
        await self._connection.execute("SELECT pg_advisory_lock($1)", key)

    async def try_lock(self, key: int) -> bool:
        """Take the advisory lock unless another connection holds it; tell whether it was taken."""
        return bool(await self._connection.fetchval("SELECT pg_try_advisory_lock($1)", key))

    async def unlock(self, key: int) -> None:
        """Release the advisory lock."""
        await self._connection.execute("SELECT pg_advisory_unlock($1)", key)
