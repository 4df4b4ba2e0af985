"""A pool of asyncpg connections that is cheaper than asyncpg's own, with an LRU cache of prepared statements on each.

asyncpg's pool and its statement cache take as long as everything else it does to read a row. Here a connection is taken
from a list, and keeps its prepared statements.
"""

# asyncpg's own annotations leave most types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from app.models.database.access import AccessLimits, busy
from app.models.database.postgres_time import microseconds, stamp
from app.models.database.row import Row

CONNECT_SECONDS = 10
# Seconds to wait for the server to end a cancelled query.
REPAIR_SECONDS = 10.0
# asyncpg raises InternalClientError on a connection whose server ended between two messages.
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class PooledConnection:
    """A pooled connection with its LRU cache of prepared statements."""

    def __init__(self, connection: "asyncpg.Connection", max_prepared: int) -> None:
        self._max_prepared = max_prepared
        self.idle_since = 0.0
        self.has_transaction = False
        self.is_closed = connection.is_closed
        self.close = connection.terminate
        self._connection = connection
        self._prepared: OrderedDict[str, PreparedStatement] = OrderedDict()

    async def fetch(self, sql: str, values: Sequence[Any]) -> Sequence[Row]:
        """Prepare the statement if needed, run it in autocommit mode, and return its rows."""
        prepared = self._prepared.get(sql) or await self._prepare(sql)
        self._prepared.move_to_end(sql)
        try:
            return await prepared.fetch(*values)
        except asyncpg.InvalidCachedStatementError:
            # A table has other columns than it had; the server has done nothing, but for a transaction, which it ended.
            self._prepared.clear()
            if self.has_transaction:
                raise
            return await (await self._prepare(sql)).fetch(*values)

    async def repair(self) -> bool:
        """Wait until the server has ended a cancelled query. Returns whether the connection can be used again."""
        try:
            # asyncpg has sent the cancel request, and starts no other query before the server has answered it.
            await self._connection.execute("ROLLBACK" if self.has_transaction else "SELECT 1", timeout=REPAIR_SECONDS)
        except (*DRIVER_ERRORS, OSError):
            return False
        self.has_transaction = False
        return True

    async def _prepare(self, sql: str) -> PreparedStatement:
        prepared = self._prepared[sql] = await self._connection.prepare(sql)
        if len(self._prepared) > self._max_prepared:
            self._prepared.popitem(last=False)
        return prepared


class ConnectionPool:
    """Opens connections on demand up to ``limits.connections``, and closes those idle for ``limits.idle_seconds``."""

    def __init__(self, dsn: str, limits: AccessLimits) -> None:
        self._dsn = dsn
        self._limits = limits
        self._places = limits.connections
        self._all: set[PooledConnection] = set()
        # A stack of idle connections: the one used last is taken first, so the others can reach the idle timeout.
        self._idle: list[PooledConnection] = []
        # First-in-first-out. A waiter gets a connection, or None if it may open a new one.
        self._waiting: deque[asyncio.Future[PooledConnection | None]] = deque()
        self._repairs: set[asyncio.Task[None]] = set()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def take(self) -> PooledConnection | None:
        """Take an idle connection without waiting; ``None`` if there is none. The caller has to give it back."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._drop(connection)
        return None

    async def wait(self) -> PooledConnection:
        """Open a connection, or wait for one to be given back if the pool is full.

        Raises TimeoutError if too many wait or it takes too long, and the errors of connecting.
        """
        if self._is_closed:
            raise _closed()
        if self._places:
            self._places -= 1
            return await self._open()
        if len(self._waiting) >= self._limits.max_waiting:
            raise busy()
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[PooledConnection | None] = loop.create_future()
        self._waiting.append(waiter)
        timer = loop.call_later(self._limits.wait_seconds, _give_up, waiter)
        try:
            connection = await waiter
        except BaseException:
            self._decline(waiter)
            raise
        finally:
            timer.cancel()
        return connection or await self._open()

    def give(self, connection: PooledConnection) -> None:
        """Give back a connection on which no statement runs: to the longest waiter, else to the idle ones."""
        waiter = self._next()
        if waiter is not None:
            waiter.set_result(connection)
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if self._idle_timer is None:
            self._idle_timer = asyncio.get_running_loop().call_later(self._limits.idle_seconds, self._close_idle)

    def take_back(self, connection: PooledConnection, *, is_sound: bool) -> None:
        """Give back a connection after a failure. Unless ``is_sound``, a cancelled query may still run on it."""
        if connection.is_closed():
            self._drop(connection)
            # The idle connections are probably dead too, for example after the server's restart.
            idle, self._idle = self._idle, []
            for other in idle:
                self._drop(other)
        elif is_sound:
            self.give(connection)
        else:
            task = asyncio.create_task(self._repair(connection))
            self._repairs.add(task)
            task.add_done_callback(self._repairs.discard)

    def close(self) -> None:
        """Close all connections, and raise an error in all waiters."""
        self._is_closed = True
        for task in self._repairs:
            task.cancel()
        for connection in self._all:
            connection.close()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        while (waiter := self._next()) is not None:
            waiter.set_exception(_closed())

    async def _open(self) -> PooledConnection:
        """Open a connection. The caller has reserved a place in the pool, which is freed again on failure."""
        try:
            raw = await _connect(self._dsn, self._limits.deadline_seconds)
        except BaseException:
            self._vacate()
            raise
        connection = PooledConnection(raw, self._limits.max_prepared)
        if self._is_closed:
            connection.close()
            raise _closed()
        self._all.add(connection)
        return connection

    async def _repair(self, connection: PooledConnection) -> None:
        is_repaired = False
        try:
            is_repaired = await connection.repair()
        finally:
            if is_repaired:
                self.give(connection)
            else:
                self._drop(connection)

    def _drop(self, connection: PooledConnection) -> None:
        connection.close()
        self._all.discard(connection)
        self._vacate()

    def _vacate(self) -> None:
        waiter = self._next()
        if waiter is None:
            self._places += 1
        else:
            waiter.set_result(None)

    def _next(self) -> "asyncio.Future[PooledConnection | None] | None":
        """Remove and return the longest waiter that was not cancelled; ``None`` if there is none."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter
        return None

    def _decline(self, waiter: "asyncio.Future[PooledConnection | None]") -> None:
        """Remove a cancelled waiter, and pass on the connection that it may have been given at the same time."""
        if waiter.cancelled() or waiter.exception() is not None:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        elif (connection := waiter.result()) is not None:
            self.give(connection)
        else:
            self._vacate()

    def _close_idle(self) -> None:
        """Close connections whose idle timeout is over, and schedule the next check while any are idle."""
        self._idle_timer = None
        now = time.monotonic()
        while self._idle and self._idle[0].idle_since + self._limits.idle_seconds <= now:
            self._drop(self._idle.pop(0))
        if self._idle:
            pause = self._idle[0].idle_since + self._limits.idle_seconds - now
            self._idle_timer = asyncio.get_running_loop().call_later(pause, self._close_idle)


async def _connect(dsn: str, deadline_seconds: float) -> asyncpg.Connection:
    connection = await asyncpg.connect(
        dsn,
        timeout=CONNECT_SECONDS,
        command_timeout=deadline_seconds,
        # Statements are written so that one generic plan suits all values: planning a page for specific values takes
        # 0.5 ms, running it 0.25 ms. JIT compilation, which the planner's cost estimate would trigger, never pays off.
        server_settings={
            "application_name": "parley",
            "timezone": "UTC",
            "jit": "off",
            "plan_cache_mode": "force_generic_plan",
        },
    )
    try:
        await connection.set_type_codec(
            "timestamptz", schema="pg_catalog", encoder=microseconds, decoder=stamp, format="tuple"
        )
    except BaseException:
        connection.terminate()
        raise
    return connection


def _give_up(waiter: "asyncio.Future[PooledConnection | None]") -> None:
    if not waiter.done():
        waiter.set_exception(busy())


def _closed() -> ConnectionError:
    return ConnectionError("The database is closed.")
