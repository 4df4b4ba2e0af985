"""Compiled statements on PostgreSQL, by asyncpg: single ones in autocommit mode, and transactions."""

# asyncpg's own annotations leave most types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from app.models.database.access import DEFAULT_LIMITS, AccessLimits, DirectTransaction, fault
from app.models.database.full_disk import full_disk_told
from app.models.database.postgres_pool import DRIVER_ERRORS, ConnectionPool, PooledConnection
from app.models.database.row import Row
from app.models.database.statement import Statement

# Of their own for transactions, which wait for locks: reads don't wait for them.
TRANSACTIONS = 10
# SQLSTATE: the server ends, and says nothing more on this connection.
_SHUTDOWN = "57P"
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"


class PostgresAccess:
    """``DirectAccess`` for PostgreSQL: each statement takes a connection from the pool and runs in autocommit mode."""

    def __init__(self, url: URL, limits: AccessLimits = DEFAULT_LIMITS) -> None:
        dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._links = ConnectionPool(dsn, limits)
        self._writing = ConnectionPool(dsn, replace(limits, connections=TRANSACTIONS))

    async def read(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Run a read, with one retry on a new connection if the pooled one turns out to be dead."""
        sql, values = statement.sql, statement.values(parameters)
        try:
            return await self._run(sql, values)
        except (DBAPIError, ConnectionError) as error:
            # The server or a firewall may have closed the connection while it was idle in the pool.
            if isinstance(error, DBAPIError) and not error.connection_invalidated:
                raise
        return await self._run(sql, values)

    async def write(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Run a write, without a retry: whether a lost connection had committed it is unknown."""
        with full_disk_told():
            return await self._run(statement.sql, statement.values(parameters))

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[DirectTransaction]:
        """As the protocol has it."""
        transaction = _PostgresTransaction(self._writing)
        with full_disk_told():
            try:
                yield transaction
                await transaction.commit()
            except BaseException:
                transaction.roll_back()
                raise

    async def close(self) -> None:
        """Close all connections at once; statements that still run fail."""
        self._links.close()
        self._writing.close()

    async def _run(self, sql: str, values: Sequence[Any]) -> Sequence[Row]:
        link: PooledConnection | None = None
        try:
            link = self._links.take() or await self._links.wait()
            rows = await link.fetch(sql, values)
        except DRIVER_ERRORS as error:
            failure = _fault(sql, error, link)
            if link is not None:
                self._links.take_back(link, is_sound=isinstance(error, asyncpg.PostgresError))
            raise failure from None
        except (Exception, asyncio.CancelledError):
            if link is not None:
                self._links.take_back(link, is_sound=False)
            raise
        self._links.give(link)
        return rows


class _PostgresTransaction:
    """One on a connection of its own. It goes back into the list behind the commit, or once it was rolled back."""

    def __init__(self, links: ConnectionPool) -> None:
        self._links = links
        self._link: PooledConnection | None = None
        self._waiting: list[tuple[str, Sequence[Any]]] = []

    async def run(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """As the protocol has it."""
        link = self._link or await self._begin()
        await self._catch_up(link)
        return await self._fetch(link, statement.sql, statement.values(parameters))

    def later(self, statement: Statement, parameters: Mapping[str, Any]) -> None:
        """As the protocol has it."""
        self._waiting.append((statement.sql, statement.values(parameters)))

    async def commit(self) -> None:
        """Commit what there is."""
        if self._link is None and not self._waiting:
            return
        link = self._link or await self._begin()
        await self._catch_up(link)
        await self._fetch(link, "COMMIT", ())
        self._link = None
        link.has_transaction = False
        self._links.give(link)

    def roll_back(self) -> None:
        """Nothing of it is kept; in the background, since who gives it up may be cancelled."""
        link, self._link = self._link, None
        if link is not None:
            self._links.take_back(link, is_sound=False)

    async def _begin(self) -> PooledConnection:
        # A connection that waited may have been cut off meanwhile; another one is opened then, since nothing has begun.
        for is_last in (False, True):
            try:
                link = self._link = self._links.take() or await self._links.wait()
            except DRIVER_ERRORS as error:
                raise _fault(_BEGIN, error, None) from None
            link.has_transaction = True
            try:
                await self._fetch(link, _BEGIN, ())
            except (DBAPIError, ConnectionError):
                if is_last or not link.is_closed():
                    raise
                self.roll_back()
            else:
                return link
        raise AssertionError

    async def _catch_up(self, link: PooledConnection) -> None:
        waiting, self._waiting = self._waiting, []
        for sql, values in waiting:
            await self._fetch(link, sql, values)

    async def _fetch(self, link: PooledConnection, sql: str, values: Sequence[Any]) -> Sequence[Row]:
        try:
            return await link.fetch(sql, values)
        except DRIVER_ERRORS as error:
            raise _fault(sql, error, link) from None


def _fault(sql: str, error: Exception, link: PooledConnection | None) -> Exception:
    """As the ORM would raise it. A connection that the server has given up is closed, so that nobody uses it."""
    state = str(getattr(error, "sqlstate", None) or "")
    is_lost = isinstance(error, asyncpg.PostgresConnectionError | asyncpg.InternalClientError)
    is_lost = is_lost or state.startswith(_SHUTDOWN)
    if link is not None and is_lost:
        link.close()
    # With a plan that no longer fits a table, which ends a transaction, it works the next time.
    again = isinstance(error, asyncpg.InvalidCachedStatementError)
    return fault(sql, error, Exception, is_lost=is_lost or again or (link is not None and link.is_closed()))
