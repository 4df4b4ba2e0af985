"""The database's engines and sessions. The URL alone decides between SQLite and PostgreSQL."""

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.sql import ClauseElement
from sqlmodel.ext.asyncio.session import AsyncSession

from app.config import Config, ConfigError
from app.errors import StorageFull
from app.models.database.access import DirectAccess
from app.models.database.full_disk import full_disk_told
from app.models.database.row import lenient_json
from app.models.database.sqlite import PRAGMAS, READ_ONLY_PRAGMA, SQLiteAccess
from app.models.database.statement import Statement
from app.models.database.unit_of_work import Model, UnitOfWork, loaded

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

SQLITE_READERS = 8
SQLITE_BUSY_TIMEOUT_SECONDS = 30
# ``DirectAccess`` has further connections of its own.
POSTGRES_CONNECTIONS = 10
POOL_TIMEOUT_SECONDS = 30.0
# Entries in the LRU cache of compiled statements. Each combination of filters and order is a statement of its own.
MAX_STATEMENTS = 500
STATEMENT_TIMEOUT_SECONDS = 30.0

# SQLSTATE prefixes of temporary failures: connection, transaction rolled back (deadlock), resources, the server's
# shutdown or start; 55000 is a database that accepts no connections for now.
_OUTAGE_STATES = ("08", "40", "53", "57P", "55000")
# SQLSTATE prefixes of configuration errors: authentication failed, no such database; 42501: no right to create tables.
_REFUSED_STATES = ("28", "3D", "42501")
_DAMAGED_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class DatabaseTrouble(Exception):
    """A database can't be used until the operator acts. The message is one line, and names the database."""


def database_url(config: Config) -> URL:
    """Return the configured URL with Parley's driver in it; without one, SQLite in the data directory.

    Raises ConfigError for any database but SQLite and PostgreSQL.
    """
    try:
        url = (
            make_url(config.database_url)
            if config.database_url
            else URL.create("sqlite", database=str(config.data_dir / "parley.db"))
        )
    except (ArgumentError, ValueError):
        # SQLAlchemy's own message may repeat the password.
        message = "PARLEY_DATABASE_URL is no URL; use postgresql://user:password@host/database or sqlite:///path"
        raise ConfigError(message) from None
    match url.get_backend_name():
        case "sqlite":
            if url.database in {None, "", ":memory:"} or str(url.database).startswith("file:"):
                message = "PARLEY_DATABASE_URL: readers and writer can't share a database in memory; name a file"
                raise ConfigError(message)
            return url.set(drivername="sqlite+aiosqlite")
        case "postgresql" | "postgres":
            return url.set(drivername="postgresql+asyncpg")
        case other:
            message = f"PARLEY_DATABASE_URL: {other} is not supported; use postgresql:// or sqlite:///"
            raise ConfigError(message)


def is_outage(error: BaseException) -> bool:
    """Tell whether the failure is temporary (unreachable, too busy, deadlock), so that a retry may succeed."""
    if isinstance(error, DBAPIError):
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            # SQLITE_ERROR is, for example, a missing table: a retry would fail again.
            return False
        state = str(getattr(error.orig, "sqlstate", None) or "")
        return error.connection_invalidated or isinstance(error, OperationalError) or state.startswith(_OUTAGE_STATES)
    # SQLAlchemy does not wrap the operating system's errors of connecting, nor asyncpg's InternalClientError, which
    # means that the server ended between two messages. It is compared by name, since SQLite needs no asyncpg.
    is_broken = type(error).__name__ == "InternalClientError"
    return is_broken or isinstance(error, StorageFull | OSError | TimeoutError | PoolTimeoutError)


def is_unusable(error: BaseException) -> bool:
    """Tell whether only the operator can help: access is denied, the database is missing, or the file is corrupt."""
    if not isinstance(error, DBAPIError):
        return False
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return state.startswith(_REFUSED_STATES) or getattr(error.orig, "sqlite_errorcode", None) in _DAMAGED_CODES


def reason(error: BaseException) -> str:
    """Return the driver's or the system's own message on one line, without the SQL statement."""
    cause = (error.orig.__cause__ or error.orig) if isinstance(error, DBAPIError) and error.orig else error
    return " ".join(str(cause).split()) or type(cause).__name__


class Database:
    """Sessions for use cases: ``read`` and ``write``.

    SQLite allows one writer: writes queue for one connection (a pool of writers was measured at a p99 of 1.35 s
    against 10 ms), readers never wait for it (WAL). On PostgreSQL both come from one pool.
    """

    def __init__(self, url: URL) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._writing = asyncio.Lock()
        self._statements: OrderedDict[object, Statement] = OrderedDict()
        self.direct: DirectAccess
        if self.is_sqlite:
            path = Path(url.database or "")
            _make_directory(path.parent)
            self.writer = _sqlite_engine(url, read_only=False)
            self.reader = _sqlite_engine(url, read_only=True)
            self.direct = SQLiteAccess(path, self._writing)
        else:
            # Both share one pool. Reads use AUTOCOMMIT: a read needs no transaction around each statement, and neither
            # does the pool's check that a connection is still alive.
            self.reader = _postgres_engine(url)
            self.writer = self.reader.execution_options(isolation_level="READ COMMITTED")
            # On SQLite, asyncpg need not be imported.
            from app.models.database.postgres import PostgresAccess  # noqa: PLC0415

            self.direct = PostgresAccess(url)

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[AsyncSession]:
        """Open a session that must not write. It sees one snapshot; on PostgreSQL, one for each statement."""
        async with AsyncSession(self.reader, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[AsyncSession]:
        """Open a session whose transaction commits when the block ends, and rolls back if it raises.

        Raises StorageFull if the disk is full.
        """
        with full_disk_told():
            async with self._alone(), AsyncSession(self.writer, expire_on_commit=False) as session, session.begin():
                yield session

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncGenerator[UnitOfWork]:
        """Open a transaction like ``write``, with compiled statements instead of an ORM session. Raises StorageFull."""
        async with self.direct.transaction() as transaction:
            unit = UnitOfWork(self.compiled, self.reader.dialect, transaction)
            yield unit
            unit.finish()

    async def rows_of(
        self, model: type[Model], name: object, build: Callable[[], ClauseElement], parameters: Mapping[str, Any]
    ) -> list[Model]:
        """Run a statement that selects all columns of a model, and return its objects. ``name`` is the cache key."""
        rows = await self.direct.read(self.compiled(name, build), parameters)
        return loaded(model, rows, self.reader.dialect)

    def compiled(self, name: object, build: Callable[[], ClauseElement]) -> Statement:
        """Return the compiled statement of that name from an LRU cache; on a miss, ``build`` makes it.

        Clients choose the filters, and thereby the statements. With LRU, rare ones can't evict those in constant use.
        """
        statement = self._statements.get(name)
        if statement is not None:
            self._statements.move_to_end(name)
            return statement
        statement = self._statements[name] = Statement(build(), self.reader.dialect)
        if len(self._statements) > MAX_STATEMENTS:
            self._statements.popitem(last=False)
        return statement

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None]:
        """Hold the lock of SQLite's only writer. Raises TimeoutError if that takes too long."""
        if not self.is_sqlite:
            yield
            return
        async with asyncio.timeout(POOL_TIMEOUT_SECONDS) as waiting, self._writing:
            waiting.reschedule(None)
            yield

    async def ping(self) -> None:
        """Check the connection with ``SELECT 1``. Raises the driver's errors."""
        async with self.reader.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection."""
        await self.direct.close()
        await self.writer.dispose()
        if self.is_sqlite:
            await self.reader.dispose()


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"PARLEY_DATABASE_URL: {path} can't be made ({error.strerror})."
        raise ConfigError(message) from None


def _sqlite_engine(url: URL, *, read_only: bool) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=SQLITE_READERS if read_only else 1,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS},
        json_deserializer=lenient_json,
        # Otherwise error messages would repeat parameters: chat messages, titles, encrypted keys.
        hide_parameters=True,
    )
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"

    def prepare(connection: "DBAPIConnection", _entry: "ConnectionPoolEntry") -> None:
        # Otherwise the driver begins transactions by itself, and only before a write.
        raw: Any = connection
        raw.isolation_level = None
        cursor = connection.cursor()
        for pragma in (*PRAGMAS, READ_ONLY_PRAGMA) if read_only else PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def start(connection: "Connection") -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", start)
    return engine


def _postgres_engine(url: URL) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=POSTGRES_CONNECTIONS,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_pre_ping=True,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        connect_args={
            "timeout": 10,
            "command_timeout": STATEMENT_TIMEOUT_SECONDS,
            "server_settings": {"application_name": "parley", "timezone": "UTC", "jit": "off"},
        },
    )
