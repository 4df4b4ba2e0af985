"""Watches a database from outside to tell when a run is over, and counts the SQL in between."""

import sqlite3
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol

import psycopg

from app.models.database.database import Database
from benchmarks.counting import Counts, PostgresLog, SQLiteTally, count, without_background
from benchmarks.postgres import PostgresServer

ACTIVE = "SELECT EXISTS (SELECT 1 FROM conversation WHERE active_run IS NOT NULL)"
PENDING = "SELECT EXISTS (SELECT 1 FROM {} WHERE status NOT IN ('SUCCESS', 'ERROR', 'CANCELLED'))"


class Watcher(Protocol):
    """Watches one database over its own connections, whose statements are not counted. One measurement at a time."""

    @property
    def url(self) -> str:
        """The URL of the watched database."""
        ...

    def watching(self, database: Database) -> AbstractContextManager[None]:
        """Connect for the length of the block; all counting happens inside it."""
        ...

    def begin(self) -> None:
        """Start counting."""
        ...

    def end(self) -> Counts:
        """Return the counts since ``begin``."""
        ...

    def is_waiting(self) -> bool:
        """Tell whether no conversation has an active run."""
        ...

    def is_over(self) -> bool:
        """Tell whether the engine has recorded the end of every run."""
        ...


class SQLiteWatcher:
    """``Watcher`` of an SQLite file, and of the engine's file beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite:///{path}"
        self._tally = SQLiteTally()
        self._before = Counts()
        self._database: sqlite3.Connection
        self._engine: sqlite3.Connection

    @contextmanager
    def watching(self, database: Database) -> Generator[None]:
        engine = self._path.with_name(f"{self._path.stem}-engine{self._path.suffix}")
        with (
            closing(sqlite3.connect(self._path)) as self._database,
            closing(sqlite3.connect(engine)) as self._engine,
            self._tally.listening(database),
        ):
            yield

    def begin(self) -> None:
        self._before = self._tally.counts

    def end(self) -> Counts:
        return self._tally.counts - self._before

    def is_waiting(self) -> bool:
        return not self._database.execute(ACTIVE).fetchone()[0]

    def is_over(self) -> bool:
        return not self._engine.execute(PENDING.format("workflow_status")).fetchone()[0]


class PostgresWatcher:
    """``Watcher`` of a PostgreSQL database, which counts statements in the server's log."""

    def __init__(self, server: PostgresServer, url: str) -> None:
        self.url = url
        self.log = PostgresLog(server, url)
        self._mark = 0
        self._connection: psycopg.Connection

    @contextmanager
    def watching(self, database: Database | None = None) -> Generator[None]:
        """Connect; the Parley that is measured may be in another process."""
        del database
        with psycopg.connect(self.url, autocommit=True) as self._connection:
            yield

    def begin(self) -> None:
        self._mark = self.log.mark()

    def end(self) -> Counts:
        return count(self.statements())

    def statements(self) -> list[tuple[int, str]]:
        """Return (server process, first line) of the statements since ``begin``, without background ones."""
        return without_background(self.log.statements(self._mark, besides=self._connection.info.backend_pid))

    def is_waiting(self) -> bool:
        return not self._is_true(ACTIVE)

    def is_over(self) -> bool:
        return not self._is_true(PENDING.format("dbos.workflow_status"))

    def _is_true(self, question: str) -> bool:
        row = self._connection.execute(question.encode()).fetchone()
        return row is not None and bool(row[0])
