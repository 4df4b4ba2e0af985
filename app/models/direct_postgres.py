"""PostgreSQL's rows straight from the driver, over a pool of connections."""

# asyncpg's own annotations leave most types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportArgumentType=false

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from app.models.direct import DEADLINE_SECONDS, fault
from app.models.record import Row
from app.models.statement import Statement

if TYPE_CHECKING:
    import asyncpg

POSTGRES_CONNECTIONS = 10
CONNECT_SECONDS = 10.0


class PostgresAccess:
    """PostgreSQL's, over connections of its own."""

    def __init__(self, url: URL) -> None:
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def read(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """As the protocol has it."""
        try:
            return await self.write(statement, parameters)
        except (DBAPIError, OSError) as error:
            # A connection that waited in the pool may have been cut off meanwhile; another one is opened then.
            if isinstance(error, DBAPIError) and not error.connection_invalidated:
                raise
            return await self.write(statement, parameters)

    async def write(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """As the protocol has it."""
        import asyncpg  # noqa: PLC0415  Those who use SQLite need not have it loaded.

        pool = self._pool or await self._open()
        try:
            return await pool.fetch(statement.sql, *statement.values(parameters))
        except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
            raise fault(statement.sql, error, Exception, is_lost=True) from None
        except asyncpg.PostgresError as error:
            raise fault(statement.sql, error, Exception) from None

    async def close(self) -> None:
        """As the protocol has it."""
        if self._pool is not None:
            self._pool.terminate()

    async def _open(self) -> "asyncpg.Pool":
        import asyncpg  # noqa: PLC0415  As above.

        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._dsn,
                    min_size=0,
                    max_size=POSTGRES_CONNECTIONS,
                    timeout=CONNECT_SECONDS,
                    command_timeout=DEADLINE_SECONDS,
                    # Statements of one transaction leave nothing behind; asking the server to forget would cost as
                    # much as a statement.
                    reset=_leave,
                    server_settings={"application_name": "parley", "timezone": "UTC"},
                )
            return self._pool


async def _leave(_connection: object) -> None:
    pass
