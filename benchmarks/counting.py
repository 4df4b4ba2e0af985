"""Counts the SQL of a run, including the engine's own statements.

PostgreSQL's log has every statement, whichever driver sent it. On SQLite the statements are counted in the process, by
hooks in SQLAlchemy, which the engine uses too, and in the direct access.
"""

import re
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Engine, event

from app.models.database.access import DirectTransaction
from app.models.database.database import Database
from app.models.database.statement import Statement
from benchmarks.postgres import PostgresServer, database_name

_LOGGED = re.compile(r"^\S+ \S+ \S+ \[(\d+)\] LOG:  (?:statement|execute [^:]*): +(.*)$", re.MULTILINE)
# The engine records a run's end by a statement that begins with WITH; no read does.
_WRITES = ("INSERT", "UPDATE", "DELETE", "WITH")

# Statements that the engine's threads and the check for dead instances send every second, whatever runs.
_BACKGROUND = re.compile(r"SELECT (dbos\.|anon_1\.version|pg_try_advisory|1$)|UPDATE dbos\.|SET LOCAL ")


@dataclass(frozen=True)
class Counts:
    """Numbers of statements (including BEGIN, COMMIT and ROLLBACK), commits and rollbacks.

    A write outside a transaction counts as a commit too.
    """

    statements: int = 0
    commits: int = 0
    rollbacks: int = 0

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(
            self.statements - other.statements, self.commits - other.commits, self.rollbacks - other.rollbacks
        )


class PostgresLog:
    """Reads the statements of one database from its server's log."""

    def __init__(self, server: PostgresServer, url: str) -> None:
        self._log = server.log
        with psycopg.connect(server.url, autocommit=True) as connection:
            name = sql.Identifier(database_name(url))
            connection.execute(sql.SQL("ALTER DATABASE {} SET log_statement = 'all'").format(name))

    def mark(self) -> int:
        """Return the current end of the log."""
        return self._log.stat().st_size

    def statements(self, mark: int, *, besides: int) -> list[tuple[int, str]]:
        """Return (server process, first line) of the statements after the mark, except the process ``besides``."""
        with self._log.open("rb") as log:
            log.seek(mark)
            told = log.read().decode(errors="replace")
        logged = [(int(process), statement) for process, statement in _LOGGED.findall(told)]
        return [(process, statement) for process, statement in logged if process != besides]


def count(statements: Sequence[tuple[int, str]]) -> Counts:
    """Count statements from PostgreSQL's log."""
    commits = rollbacks = 0
    open_in = set[int]()
    for process, statement in statements:
        word = statement.split(maxsplit=1)[0].rstrip(";").upper() if statement.strip() else ""
        if word == "BEGIN":
            open_in.add(process)
        elif word in ("COMMIT", "ROLLBACK"):
            open_in.discard(process)
            commits += word == "COMMIT"
            rollbacks += word == "ROLLBACK"
        elif word in _WRITES and process not in open_in:
            commits += 1
    return Counts(len(statements), commits, rollbacks)


def without_background(statements: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Remove background transactions, together with the pool's check of the connection before each."""
    kept = list[tuple[int, str]]()
    units = dict[int, list[str]]()
    for process, statement in statements:
        unit = units.setdefault(process, [])
        unit.append(statement)
        is_open = any(said.startswith("BEGIN") for said in unit)
        is_end = statement.startswith(("COMMIT", "ROLLBACK"))
        if (is_open and not is_end) or statement == ";":
            continue
        # A transaction that ends here but began before is not the run's either.
        if is_open == is_end and not any(_BACKGROUND.match(said) for said in unit):
            kept += [(process, said) for said in unit]
        units[process] = []
    return kept


class _Noted:
    """A transaction that counts."""

    def __init__(self, transaction: DirectTransaction) -> None:
        self._transaction = transaction
        self.statements = 0

    async def run(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Any]:
        self.statements += 1
        return await self._transaction.run(statement, parameters)

    def later(self, statement: Statement, parameters: Mapping[str, Any]) -> None:
        self.statements += 1
        self._transaction.later(statement, parameters)


class SQLiteTally:
    """Counts the statements that this process sends to SQLite."""

    def __init__(self) -> None:
        self._statements = self._commits = self._rollbacks = 0

    @property
    def counts(self) -> Counts:
        """The counts so far."""
        return Counts(self._statements, self._commits, self._rollbacks)

    @contextmanager
    def listening(self, database: Database) -> Generator[None]:
        """Count the statements in the block, of all SQLAlchemy engines and of the database's direct access."""
        direct = database.direct
        read, write, transaction = direct.read, direct.write, direct.transaction

        async def noted_read(statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Any]:
            self._statements += 1
            return await read(statement, parameters)

        async def noted_write(statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Any]:
            self._statements += 1
            self._commits += 1
            return await write(statement, parameters)

        @asynccontextmanager
        async def noted_transaction() -> AsyncGenerator[DirectTransaction]:
            async with transaction() as opened:
                noted = _Noted(opened)
                yield noted
            # What begins and ends it are statements as well.
            self._statements += noted.statements + 2
            self._commits += 1

        listeners: dict[str, Callable[..., None]] = {
            "before_cursor_execute": self._executed,
            "commit": self._committed,
            "rollback": self._rolled_back,
        }
        for name, listener in listeners.items():
            event.listen(Engine, name, listener)
        direct.read, direct.write, direct.transaction = noted_read, noted_write, noted_transaction
        try:
            yield
        finally:
            direct.read, direct.write, direct.transaction = read, write, transaction
            for name, listener in listeners.items():
                event.remove(Engine, name, listener)

    def _executed(self, *_: object) -> None:
        self._statements += 1

    def _committed(self, _connection: object) -> None:
        # Counted as on PostgreSQL, although the driver sends it by itself.
        self._statements += 1
        self._commits += 1

    def _rolled_back(self, _connection: object) -> None:
        self._statements += 1
        self._rollbacks += 1
