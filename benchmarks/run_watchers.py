"""See from outside of the server when a run is over, and count its SQL meanwhile."""

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
    """Looks at one database with connections of its own, whose statements are not counted. One run at a time."""

    @property
    def url(self) -> str:
        """Of the database."""
        ...

    def watching(self, database: Database) -> AbstractContextManager[None]:
        """Whatever is counted comes in between."""
        ...

    def begin(self) -> None:
        """Count from here on."""
        ...

    def end(self) -> Counts:
        """Of what came since."""
        ...

    def is_waiting(self) -> bool:
        """Whether no conversation has a run."""
        ...

    def is_over(self) -> bool:
        """Whether the engine has noted the end of every run."""
        ...


class SQLiteWatcher:
    """Looks at the file, and at the engine's beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite:///{path}"
        self._tally = SQLiteTally()
        self._before = Counts()
        self._database: sqlite3.Connection
        self._engine: sqlite3.Connection

    @contextmanager
    def watching(self, database: Database) -> Generator[None]:
        """As the protocol has it."""
        engine = self._path.with_name(f"{self._path.stem}-engine{self._path.suffix}")
        with (
            closing(sqlite3.connect(self._path)) as self._database,
            closing(sqlite3.connect(engine)) as self._engine,
            self._tally.listening(database),
        ):
            yield

    def begin(self) -> None:
        """As the protocol has it."""
        self._before = self._tally.counts

    def end(self) -> Counts:
        """As the protocol has it."""
        return self._tally.counts - self._before

    def is_waiting(self) -> bool:
        """As the protocol has it."""
        return not self._database.execute(ACTIVE).fetchone()[0]

    def is_over(self) -> bool:
        """As the protocol has it."""
        return not self._engine.execute(PENDING.format("workflow_status")).fetchone()[0]


class PostgresWatcher:
    """Looks at a database, and at its server's log."""

    def __init__(self, server: PostgresServer, url: str) -> None:
        self.url = url
        self.log = PostgresLog(server, url)
        self._mark = 0
        self._connection: psycopg.Connection

    @contextmanager
    def watching(self, database: Database | None = None) -> Generator[None]:
        """As the protocol has it; the server may be in another process."""
        del database
        with psycopg.connect(self.url, autocommit=True) as self._connection:
            yield

    def begin(self) -> None:
        """As the protocol has it."""
        self._mark = self.log.mark()

    def end(self) -> Counts:
        """As the protocol has it."""
        return count(self.statements())

    def statements(self) -> list[tuple[int, str]]:
        """What came since ``begin``, but for the background: to which of the server's processes, and its first line."""
        return without_background(self.log.statements(self._mark, besides=self._connection.info.backend_pid))

    def is_waiting(self) -> bool:
        """As the protocol has it."""
        return not self._is_true(ACTIVE)

    def is_over(self) -> bool:
        """As the protocol has it."""
        return not self._is_true(PENDING.format("dbos.workflow_status"))

    def _is_true(self, question: str) -> bool:
        row = self._connection.execute(question.encode()).fetchone()
        return row is not None and bool(row[0])
