"""One connection to PostgreSQL outside the pool, for what belongs to a connection: listening and advisory locks."""

# asyncpg's own annotations leave most types open; this room is the one that touches it directly.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportArgumentType=false

from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
from sqlalchemy.engine import URL

TIMEOUT_SECONDS = 10.0

CONNECTION_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What a call on a connection may raise."""


class PostgresConnection:
    """Every call has a timeout of 10 s and raises ``CONNECTION_ERRORS``."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401  asyncpg's class has no usable type.
        self._connection = connection

    @classmethod
    async def open(cls, url: URL) -> "PostgresConnection":
        """Connect."""
        dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        connection = await asyncpg.connect(dsn, timeout=TIMEOUT_SECONDS, command_timeout=TIMEOUT_SECONDS)
        return cls(connection)

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, or broke."""
        return bool(self._connection.is_closed())

    def close(self) -> None:
        """Close at once; the server then gives back its locks."""
        self._connection.terminate()

    def on_lost(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` when the connection has ended, however it did."""

        def ended(_connection: object) -> None:
            tell()

        self._connection.add_termination_listener(ended)

    async def ping(self) -> None:
        """Ask for an answer."""
        await self._connection.execute("SELECT 1")

    async def listen(self, channel: str, hear: Callable[[str], None]) -> None:
        """Call ``hear`` with every payload that is told on the channel."""

        def heard(_connection: object, _process_id: int, _channel: str, payload: object) -> None:
            hear(str(payload))

        await self._connection.add_listener(channel, heard)

    async def tell(self, channel: str, payloads: Sequence[str]) -> None:
        """Tell the payloads, in order."""
        statement = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"
        await self._connection.execute(statement, channel, list(payloads))

    async def lock(self, key: int) -> None:
        """Take the advisory lock and keep it."""
        await self._connection.execute("SELECT pg_advisory_lock($1)", key)

    async def try_lock(self, key: int) -> bool:
        """Take the advisory lock unless another connection has it."""
        return bool(await self._connection.fetchval("SELECT pg_try_advisory_lock($1)", key))

    async def unlock(self, key: int) -> None:
        """Give the advisory lock back."""
        await self._connection.execute("SELECT pg_advisory_unlock($1)", key)
