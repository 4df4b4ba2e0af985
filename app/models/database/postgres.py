"""A connection pool for compiled statements on PostgreSQL that is cheaper than asyncpg's own.

asyncpg's pool and its statement cache take as long as everything else it does to read a row. Here a connection is taken
from a list, and keeps its prepared statements. Times are decoded to text in RFC 3339, the form in which the API returns
them.
"""

# asyncpg's own annotations leave most types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from app.models.database.access import DEFAULT_LIMITS, AccessLimits, DirectTransaction, busy, fault
from app.models.database.full_disk import full_disk_told
from app.models.database.row import Row
from app.models.database.statement import Statement

# Of their own for transactions, which wait for locks: reads don't wait for them.
TRANSACTIONS = 10
CONNECT_SECONDS = 10
# Seconds to wait for the server to end a cancelled query.
MEND_SECONDS = 10.0
# SQLSTATE: the server ends, and says nothing more on this connection.
_SHUTDOWN = "57P"
# The last of them is what asyncpg says of a connection whose server ended between two messages.
_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
# PostgreSQL's binary format of timestamps counts microseconds from this time.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MINUTES = [f"{minute // 60:02}:{minute % 60:02}:" for minute in range(24 * 60)]
_SECONDS = [f"{second:02}" for second in range(60)]


class PostgresAccess:
    """``DirectAccess`` for PostgreSQL: each statement takes a connection from the pool and runs in autocommit mode."""

    def __init__(self, url: URL, limits: AccessLimits = DEFAULT_LIMITS) -> None:
        dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._links = _Links(dsn, limits)
        self._writing = _Links(dsn, replace(limits, connections=TRANSACTIONS))

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
        link: _Link | None = None
        try:
            link = self._links.take() or await self._links.wait()
            rows = await link.fetch(sql, values)
        except _ERRORS as error:
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

    def __init__(self, links: "_Links") -> None:
        self._links = links
        self._link: _Link | None = None
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

    async def _begin(self) -> "_Link":
        # A connection that waited may have been cut off meanwhile; another one is opened then, since nothing has begun.
        for is_last in (False, True):
            try:
                link = self._link = self._links.take() or await self._links.wait()
            except _ERRORS as error:
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

    async def _catch_up(self, link: "_Link") -> None:
        waiting, self._waiting = self._waiting, []
        for sql, values in waiting:
            await self._fetch(link, sql, values)

    async def _fetch(self, link: "_Link", sql: str, values: Sequence[Any]) -> Sequence[Row]:
        try:
            return await link.fetch(sql, values)
        except _ERRORS as error:
            raise _fault(sql, error, link) from None


class _Link:
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

    async def mend(self) -> bool:
        """Wait until the server has ended a cancelled query. Returns whether the connection can be used again."""
        try:
            # asyncpg has sent the cancel request, and starts no other query before the server has answered it.
            await self._connection.execute("ROLLBACK" if self.has_transaction else "SELECT 1", timeout=MEND_SECONDS)
        except (*_ERRORS, OSError):
            return False
        self.has_transaction = False
        return True

    async def _prepare(self, sql: str) -> PreparedStatement:
        prepared = self._prepared[sql] = await self._connection.prepare(sql)
        if len(self._prepared) > self._max_prepared:
            self._prepared.popitem(last=False)
        return prepared


class _Links:
    """The pool: opens connections on demand up to a limit, and closes those that were idle for ``IDLE_SECONDS``."""

    def __init__(self, dsn: str, limits: AccessLimits) -> None:
        self._dsn = dsn
        self._limits = limits
        self._places = limits.connections
        self._all: set[_Link] = set()
        # A stack of idle connections: the one used last is taken first, so the others can reach the idle timeout.
        self._free: list[_Link] = []
        # First-in-first-out. A waiter gets a connection, or None if it may open a new one.
        self._waiting: deque[asyncio.Future[_Link | None]] = deque()
        self._mending: set[asyncio.Task[None]] = set()
        self._looking: asyncio.TimerHandle | None = None
        self._is_closed = False

    def take(self) -> _Link | None:
        """Take an idle connection without waiting; ``None`` if there is none. The caller has to give it back."""
        while self._free:
            link = self._free.pop()
            if not link.is_closed():
                return link
            self._drop(link)
        return None

    async def wait(self) -> _Link:
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
        waiter: asyncio.Future[_Link | None] = loop.create_future()
        self._waiting.append(waiter)
        timer = loop.call_later(self._limits.wait_seconds, _give_up, waiter)
        try:
            link = await waiter
        except BaseException:
            self._decline(waiter)
            raise
        finally:
            timer.cancel()
        return link or await self._open()

    def give(self, link: _Link) -> None:
        """Give back a connection on which no statement runs: to the longest waiter, else to the idle ones."""
        waiter = self._next()
        if waiter is not None:
            waiter.set_result(link)
            return
        link.idle_since = time.monotonic()
        self._free.append(link)
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(self._limits.idle_seconds, self._look)

    def take_back(self, link: _Link, *, is_sound: bool) -> None:
        """Give back a connection after a failure. Unless ``is_sound``, a cancelled query may still run on it."""
        if link.is_closed():
            self._drop(link)
            # The idle connections are probably dead too, for example after the server's restart.
            free, self._free = self._free, []
            for other in free:
                self._drop(other)
        elif is_sound:
            self.give(link)
        else:
            task = asyncio.create_task(self._mend(link))
            self._mending.add(task)
            task.add_done_callback(self._mending.discard)

    def close(self) -> None:
        """Close all connections, and raise an error in all waiters."""
        self._is_closed = True
        for task in self._mending:
            task.cancel()
        for link in self._all:
            link.close()
        if self._looking is not None:
            self._looking.cancel()
        while (waiter := self._next()) is not None:
            waiter.set_exception(_closed())

    async def _open(self) -> _Link:
        """Open a connection. The caller has reserved a place in the pool, which is freed again on failure."""
        try:
            connection = await _connect(self._dsn, self._limits.deadline_seconds)
        except BaseException:
            self._vacate()
            raise
        link = _Link(connection, self._limits.max_prepared)
        if self._is_closed:
            link.close()
            raise _closed()
        self._all.add(link)
        return link

    async def _mend(self, link: _Link) -> None:
        is_mended = False
        try:
            is_mended = await link.mend()
        finally:
            if is_mended:
                self.give(link)
            else:
                self._drop(link)

    def _drop(self, link: _Link) -> None:
        link.close()
        self._all.discard(link)
        self._vacate()

    def _vacate(self) -> None:
        waiter = self._next()
        if waiter is None:
            self._places += 1
        else:
            waiter.set_result(None)

    def _next(self) -> "asyncio.Future[_Link | None] | None":
        """Remove and return the longest waiter that was not cancelled; ``None`` if there is none."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter
        return None

    def _decline(self, waiter: "asyncio.Future[_Link | None]") -> None:
        """Remove a cancelled waiter, and pass on the connection that it may have been given at the same time."""
        if waiter.cancelled() or waiter.exception() is not None:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        elif (link := waiter.result()) is not None:
            self.give(link)
        else:
            self._vacate()

    def _look(self) -> None:
        """Close connections whose idle timeout is over, and schedule the next check while any are idle."""
        self._looking = None
        now = time.monotonic()
        while self._free and self._free[0].idle_since + self._limits.idle_seconds <= now:
            self._drop(self._free.pop(0))
        if self._free:
            pause = self._free[0].idle_since + self._limits.idle_seconds - now
            self._looking = asyncio.get_running_loop().call_later(pause, self._look)


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
            "timestamptz", schema="pg_catalog", encoder=_microseconds, decoder=_stamp, format="tuple"
        )
    except BaseException:
        connection.terminate()
        raise
    return connection


def _fault(sql: str, error: Exception, link: _Link | None) -> Exception:
    """As the ORM would raise it. A connection that the server has given up is closed, so that nobody uses it."""
    state = str(getattr(error, "sqlstate", None) or "")
    is_lost = isinstance(error, asyncpg.PostgresConnectionError | asyncpg.InternalClientError)
    is_lost = is_lost or state.startswith(_SHUTDOWN)
    if link is not None and is_lost:
        link.close()
    # With a plan that no longer fits a table, which ends a transaction, it works the next time.
    again = isinstance(error, asyncpg.InvalidCachedStatementError)
    return fault(sql, error, Exception, is_lost=is_lost or again or (link is not None and link.is_closed()))


def _microseconds(moment: datetime) -> tuple[int]:
    return ((moment - _EPOCH) // timedelta(microseconds=1),)


def _stamp(moment: tuple[int]) -> str:
    """Decode a timestamp to RFC 3339, three times as fast as by ``datetime`` and its ``isoformat()``."""
    seconds, microsecond = divmod(moment[0], 1_000_000)
    minutes, second = divmod(seconds, 60)
    days, minute = divmod(minutes, 24 * 60)
    if microsecond:
        return f"{_date(days)}T{_MINUTES[minute]}{_SECONDS[second]}.{microsecond:06}+00:00"
    return f"{_date(days)}T{_MINUTES[minute]}{_SECONDS[second]}+00:00"


@lru_cache(maxsize=4096)
def _date(days: int) -> str:
    return (_EPOCH + timedelta(days)).date().isoformat()


def _give_up(waiter: "asyncio.Future[_Link | None]") -> None:
    if not waiter.done():
        waiter.set_exception(busy())


def _closed() -> ConnectionError:
    return ConnectionError("The database is closed.")
