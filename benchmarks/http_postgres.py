"""The benchmark of ``http`` on PostgreSQL, for Parley and the raw limit; the peers support only SQLite here.

Each server has a copy of the database, all on one PostgreSQL. That has cores of its own if there are enough. On two
cores it shares the load's: if that core is the bottleneck, as with writes, the servers idle, so the ratios of rates
approach 1, but those of CPU don't.
"""

import asyncio
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from datetime import UTC
from pathlib import Path

import psycopg

from benchmarks import data, report
from benchmarks.http import CONVERSATIONS, available, measure_on
from benchmarks.load import Cores
from benchmarks.operations import OPERATIONS, Subject
from benchmarks.postgres import PostgresServer
from benchmarks.servers import PARLEY, PARLEY_TEXT, RAW, on

SETTINGS = {
    # Large enough for all copies of the tables.
    "shared_buffers": "1GB",
    # Otherwise autovacuum would run during one server's round or another's.
    "autovacuum": "off",
}


class Filled:
    """A PostgreSQL with the benchmarks' data in a template, of which each server gets a copy."""

    def __init__(self, server: PostgresServer, conversations: int) -> None:
        self._server = server
        self._filled = server.create_database()
        asyncio.run(data.fill(self._filled.replace("postgresql://", "postgresql+asyncpg://"), conversations))
        with psycopg.connect(self._filled, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")

    def subjects(self, *, have_events: bool) -> list[Subject]:
        """Return the conversations that requests ask for, in the same order as on SQLite."""
        with psycopg.connect(self._filled) as connection:
            rows = connection.execute(data.statement(have_events=have_events).encode()).fetchall()
        return data.shuffled(Subject.of(key, moment.astimezone(UTC)) for key, moment in rows)

    @contextmanager
    def copies(self, count: int) -> Generator[list[str]]:
        """Create copies, yield their URLs, and drop them at the end."""
        with ExitStack() as stack:
            yield [stack.enter_context(self._server.database(template=self._filled)) for _ in range(count)]


@contextmanager
def filled(conversations: int = CONVERSATIONS) -> Generator[Filled]:
    """Run PostgreSQL on its cores, with the data inserted."""
    with ExitStack() as stack:
        with on(Cores.of_machine().database):
            server = stack.enter_context(PostgresServer(SETTINGS))
        yield Filled(server, conversations)


def title(name: str) -> str:
    """Return the heading of an operation's table."""
    return OPERATIONS[name].title.replace(":", " on PostgreSQL:", 1)


def measure(name: str, database: Filled) -> list[report.Line]:
    """Measure one operation, and return the lines of its table."""
    operation = OPERATIONS[name]
    servers = available((PARLEY, PARLEY_TEXT, RAW))
    subjects = database.subjects(have_events=operation.has_events)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        databases = stack.enter_context(database.copies(len(servers)))
        return measure_on(servers, databases, operation, subjects, directory)
