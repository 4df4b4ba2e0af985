"""Interfaces for compiled statements on a driver's connection. An ORM session costs several times the statement."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy.exc import DBAPIError

from app.models.database.row import Row
from app.models.database.statement import Statement


@dataclass(frozen=True, slots=True)
class AccessLimits:
    """Limits of statements and connections.

    ``wait_seconds``: the longest wait for a connection to PostgreSQL. ``idle_seconds``: idle connections are closed
    after this time, since firewalls drop connections without traffic. ``max_prepared``: the size of each connection's
    cache of prepared statements; the server keeps a plan for each.
    """

    deadline_seconds: float = 30.0
    wait_seconds: float = 30.0
    max_waiting: int = 10_000
    connections: int = 10
    idle_seconds: float = 300.0
    max_prepared: int = 100


DEFAULT_LIMITS = AccessLimits()


class DirectAccess(Protocol):
    """Runs statements, each in a transaction of its own. Raises DBAPIError, and OSError for no connection."""

    async def read(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Run a statement that writes nothing, and return its rows."""
        ...

    async def write(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Run a statement that writes, and return its rows. Raises StorageFull."""
        ...

    def transaction(self) -> AbstractAsyncContextManager["DirectTransaction"]:
        """Open a transaction. It commits at the end of the block, and rolls back if it raises. Raises StorageFull."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class DirectTransaction(Protocol):
    """A transaction, which begins with its first statement."""

    async def run(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Run the deferred statements, then this one, and return its rows."""
        ...

    def later(self, statement: Statement, parameters: Mapping[str, Any]) -> None:
        """Defer a statement, whose rows are not needed, until the next one is run, or until the commit."""
        ...


def fault(sql: str, error: Exception, base: type[Exception], *, is_lost: bool = False) -> Exception:
    """Wrap a driver's error like the ORM, without the values, which are messages, titles and encrypted keys."""
    return DBAPIError.instance(sql, None, error, base, hide_parameters=True, connection_invalidated=is_lost)


def busy() -> TimeoutError:
    """Create the error of a statement that waited too long, or behind too many others."""
    return TimeoutError("Too many statements wait for the database.")
