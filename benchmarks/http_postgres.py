"""Requests over HTTP as in ``http``, to servers on PostgreSQL: Parley and the raw limit.

The peers have no PostgreSQL here. Each server has a database of its own, a copy, on one PostgreSQL for all. That has
cores of its own where there are enough. On two it shares the load's: where these are the bottleneck, as with writes,
servers idle meanwhile, so that the ratios of rates come closer to 1; those of CPU don't.
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
    # All copies of the tables fit.
    "shared_buffers": "1GB",
    # Its work would fall to the round of one server or another.
    "autovacuum": "off",
}


class Filled:
    """A PostgreSQL that has the conversations. Everything that is measured is measured on copies."""

    def __init__(self, server: PostgresServer, conversations: int) -> None:
        self._server = server
        self._filled = server.create_database()
        asyncio.run(data.fill(self._filled.replace("postgresql://", "postgresql+asyncpg://"), conversations))
        with psycopg.connect(self._filled, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")

    def subjects(self, *, have_events: bool) -> list[Subject]:
        """The conversations that are asked about, in that order: the one on SQLite."""
        with psycopg.connect(self._filled) as connection:
            rows = connection.execute(data.statement(have_events=have_events).encode()).fetchall()
        return data.shuffled(Subject.of(key, moment.astimezone(UTC)) for key, moment in rows)

    @contextmanager
    def copies(self, count: int) -> Generator[list[str]]:
        """The URLs of so many databases, which are removed at the end."""
        with ExitStack() as stack:
            yield [stack.enter_context(self._server.database(template=self._filled)) for _ in range(count)]


@contextmanager
def filled(conversations: int = CONVERSATIONS) -> Generator[Filled]:
    """Start PostgreSQL on its cores, make the data, and stop it at the end."""
    with ExitStack() as stack:
        with on(Cores.of_machine().database):
            server = stack.enter_context(PostgresServer(SETTINGS))
        yield Filled(server, conversations)


def title(name: str) -> str:
    """Of an operation's table."""
    return OPERATIONS[name].title.replace(":", " on PostgreSQL:", 1)


def measure(name: str, database: Filled) -> list[report.Line]:
    """Measure one operation; the lines of its table."""
    operation = OPERATIONS[name]
    servers = available((PARLEY, PARLEY_TEXT, RAW))
    subjects = database.subjects(have_events=operation.has_events)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        databases = stack.enter_context(database.copies(len(servers)))
        return measure_on(servers, databases, operation, subjects, directory)
