"""Statements on a driver's connection: what an ORM session costs is several times what the database takes."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy.exc import DBAPIError

from app.models.database.row import Row
from app.models.database.statement import Statement


@dataclass(frozen=True, slots=True)
class AccessLimits:
    """Bounds on statements and connections.

    ``wait_seconds``: for a connection to PostgreSQL. ``idle_seconds``: a connection that was not needed for so long is
    closed, since firewalls forget those that say nothing for longer. ``max_prepared``: statements prepared on each
    connection; the server keeps a plan for each.
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
        """The rows of a statement that writes nothing."""
        ...

    async def write(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Run a statement that writes; the rows that it returns. Raises StorageFull."""
        ...

    def transaction(self) -> AbstractAsyncContextManager["DirectTransaction"]:
        """Several statements in one transaction, which is rolled back when the block raises. Raises StorageFull."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class DirectTransaction(Protocol):
    """Statements of one transaction, which begins with the first of them."""

    async def run(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Run a statement behind those that were left for later; its rows."""
        ...

    def later(self, statement: Statement, parameters: Mapping[str, Any]) -> None:
        """Leave a statement whose rows nobody needs for the next one that is run, or for the commit."""
        ...


def fault(sql: str, error: Exception, base: type[Exception], *, is_lost: bool = False) -> Exception:
    """As the ORM would raise it. The values are left out, since they are messages, titles and sealed keys."""
    return DBAPIError.instance(sql, None, error, base, hide_parameters=True, connection_invalidated=is_lost)


def busy() -> TimeoutError:
    """The error of a statement that waited for too long, or behind too many."""
    return TimeoutError("Too many statements wait for the database.")
