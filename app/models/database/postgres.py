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

# Transactions have a pool of their own: they wait for locks, and reads shall not wait behind them.
TRANSACTIONS = 10
# SQLSTATE: the server ends, and says nothing more on this connection.
_SHUTDOWN = "57P"
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"


class PostgresAccess:
    """``DirectAccess`` for PostgreSQL: each statement takes a connection from the pool and runs in autocommit mode."""

    def __init__(self, url: URL, limits: AccessLimits = DEFAULT_LIMITS) -> None:
        dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._pool = ConnectionPool(dsn, limits)
        self._write_pool = ConnectionPool(dsn, replace(limits, connections=TRANSACTIONS))

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
        """Commit at the end of the block, and roll back if it raises."""
        transaction = _PostgresTransaction(self._write_pool)
        with full_disk_told():
            try:
                yield transaction
                await transaction.commit()
            except BaseException:
                transaction.roll_back()
                raise

    async def close(self) -> None:
        """Close all connections at once; statements that still run fail."""
        self._pool.close()
        self._write_pool.close()

    async def _run(self, sql: str, values: Sequence[Any]) -> Sequence[Row]:
        connection: PooledConnection | None = None
        try:
            connection = self._pool.take() or await self._pool.wait()
            rows = await connection.fetch(sql, values)
        except DRIVER_ERRORS as error:
            failure = _fault(sql, error, connection)
            if connection is not None:
                self._pool.take_back(connection, is_sound=isinstance(error, asyncpg.PostgresError))
            raise failure from None
        except (Exception, asyncio.CancelledError):
            if connection is not None:
                self._pool.take_back(connection, is_sound=False)
            raise
        self._pool.give(connection)
        return rows


class _PostgresTransaction:
    """A transaction on a connection of its own, which returns to the pool after the commit or the rollback."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._connection: PooledConnection | None = None
        self._waiting: list[tuple[str, Sequence[Any]]] = []

    async def run(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Run the deferred statements, then this one, whose rows are returned."""
        connection = self._connection or await self._begin()
        await self._catch_up(connection)
        return await self._fetch(connection, statement.sql, statement.values(parameters))

    def later(self, statement: Statement, parameters: Mapping[str, Any]) -> None:
        """Defer a statement until the next one is run, or until the commit."""
        self._waiting.append((statement.sql, statement.values(parameters)))

    async def commit(self) -> None:
        """Run the deferred statements and commit. Without any statement, nothing is sent."""
        if self._connection is None and not self._waiting:
            return
        connection = self._connection or await self._begin()
        await self._catch_up(connection)
        await self._fetch(connection, "COMMIT", ())
        self._connection = None
        connection.has_transaction = False
        self._pool.give(connection)

    def roll_back(self) -> None:
        """Roll back in the background, since the calling task may be cancelled."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.take_back(connection, is_sound=False)

    async def _begin(self) -> PooledConnection:
        # An idle connection may have been closed by the server. Nothing has begun yet, so another one is tried.
        for is_last in (False, True):
            try:
                connection = self._connection = self._pool.take() or await self._pool.wait()
            except DRIVER_ERRORS as error:
                raise _fault(_BEGIN, error, None) from None
            connection.has_transaction = True
            try:
                await self._fetch(connection, _BEGIN, ())
            except (DBAPIError, ConnectionError):
                if is_last or not connection.is_closed():
                    raise
                self.roll_back()
            else:
                return connection
        raise AssertionError

    async def _catch_up(self, connection: PooledConnection) -> None:
        waiting, self._waiting = self._waiting, []
        for sql, values in waiting:
            await self._fetch(connection, sql, values)

    async def _fetch(self, connection: PooledConnection, sql: str, values: Sequence[Any]) -> Sequence[Row]:
        try:
            return await connection.fetch(sql, values)
        except DRIVER_ERRORS as error:
            raise _fault(sql, error, connection) from None


def _fault(sql: str, error: Exception, connection: PooledConnection | None) -> Exception:
    """Convert a driver's error to the ORM's. If the server has ended the connection, it is closed here too."""
    state = str(getattr(error, "sqlstate", None) or "")
    is_lost = isinstance(error, asyncpg.PostgresConnectionError | asyncpg.InternalClientError)
    is_lost = is_lost or state.startswith(_SHUTDOWN)
    if connection is not None and is_lost:
        connection.close()
    # The cached plan no longer fits an altered table. This ends a transaction; the next one gets a new plan.
    again = isinstance(error, asyncpg.InvalidCachedStatementError)
    return fault(sql, error, Exception, is_lost=is_lost or again or (connection is not None and connection.is_closed()))
