"""Statements on SQLite's own connections: one of the event loop's, and those of a few threads."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from app.models.database.access import DEFAULT_LIMITS, AccessLimits, DirectTransaction, busy, fault
from app.models.database.full_disk import full_disk_told
from app.models.database.row import Row
from app.models.database.statement import Statement

READ_THREADS = 2
# Reads of one transaction in the event loop, and answers that are handed to it together: each handing over wakes it.
BATCH = 32
# SQLite's instructions between two looks at the clock: some milliseconds.
INSTRUCTIONS = 100_000
# In the event loop: a page of 100 conversations takes some 7,000, or 0.2 ms.
INLINE_INSTRUCTIONS = 15_000
# Reads that take longer together are left to the threads for so many times as long: the disk may be slow.
SLOW_SECONDS = 0.01
PAUSE = 10
_BEGIN: tuple[str, list[Any]] = ("BEGIN IMMEDIATE", [])
_ROLLBACK = "ROLLBACK"


PRAGMAS = (
    "journal_mode = WAL",
    # With WAL a killed process loses nothing; only a power cut may lose the last commits, never corrupt.
    "synchronous = NORMAL",
    "foreign_keys = ON",
    "cache_size = -65536",
)
READ_ONLY_PRAGMA = "query_only = ON"


@dataclass(slots=True)
class _Job:
    """A statement that is to be run, and who waits for it."""

    sql: str
    values: list[Any]
    answer: "asyncio.Future[list[Row]]"
    rows: list[Row] | None = None
    error: sqlite3.Error | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        """In a thread."""
        try:
            self.rows = connection.execute(self.sql, self.values).fetchall()
        except sqlite3.Error as error:
            self.error = error

    def tell(self) -> None:
        """In the event loop."""
        if self.answer.done():
            return
        if self.error is None:
            self.answer.set_result(self.rows or [])
        else:
            self.answer.set_exception(fault(self.sql, self.error, sqlite3.Error))


@dataclass(slots=True)
class _Steps(_Job):
    """Statements of a transaction that goes on behind them, unless they end it. The rows are those of the last one."""

    before: list[tuple[str, list[Any]]] = field(default_factory=list[tuple[str, list[Any]]])

    def run(self, connection: sqlite3.Connection) -> None:
        """In a thread."""
        try:
            for sql, values in self.before:
                connection.execute(sql, values)
            if self.sql != _ROLLBACK or connection.in_transaction:
                self.rows = connection.execute(self.sql, self.values).fetchall()
        except sqlite3.Error as error:
            self.error = error
            if connection.in_transaction:
                connection.execute(_ROLLBACK)


class SQLiteAccess:
    """Readers never wait for the writer. Whatever waits for the writer when it is free shares one commit.

    What an index answers at once is read in the event loop: a thread would take longer to be asked than to answer. What
    takes more is given up and read by a thread; and while the disk is slow everything is.
    ``writing`` is held while anything writes, since SQLite has room for one writer.
    """

    def __init__(self, path: Path, writing: asyncio.Lock, limits: AccessLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._readers = _Readers(path, READ_THREADS, limits)
        self._inline = _InlineReader(path, self._readers, limits)
        self._writer = _Writer(path, 1, limits)
        self._writing = writing
        self._waiting: list[_Job] = []
        self._flushing: asyncio.Task[None] | None = None

    async def read(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """As the protocol has it."""
        job = _Job(statement.sql, statement.values(parameters), asyncio.get_running_loop().create_future())
        self._inline.submit(job)
        return await job.answer

    async def write(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """As the protocol has it."""
        job = _Job(statement.sql, statement.values(parameters), asyncio.get_running_loop().create_future())
        if len(self._waiting) >= self._limits.max_waiting:
            raise busy()
        self._waiting.append(job)
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        # Where the caller is cancelled so is the answer, and what has not begun by then never does.
        with full_disk_told():
            return await job.answer

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[DirectTransaction]:
        """As the protocol has it."""
        async with asyncio.timeout(self._limits.wait_seconds) as waiting, self._writing:
            waiting.reschedule(None)
            transaction = _SQLiteTransaction(self._writer)
            with full_disk_told():
                try:
                    yield transaction
                    await transaction.commit()
                except BaseException:
                    transaction.roll_back()
                    raise

    async def _flush(self) -> None:
        try:
            while self._waiting:
                async with self._writing:
                    batch = [job for job in self._waiting if not job.answer.done()]
                    self._waiting = []
                    if batch:
                        self._writer.submit(batch)
                        await asyncio.wait([job.answer for job in batch])
        finally:
            self._flushing = None

    async def close(self) -> None:
        """As the protocol has it."""
        self._inline.close()
        await self._readers.close()
        await self._writer.close()


class _SQLiteTransaction:
    """One on the writer's connection: what is left for later goes to its thread together with what is run."""

    def __init__(self, writer: "_Writer") -> None:
        self._writer = writer
        self._waiting: list[tuple[str, list[Any]]] = []
        self._has_begun = False

    async def run(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """As the protocol has it."""
        return await self._send(statement.sql, statement.values(parameters))

    def later(self, statement: Statement, parameters: Mapping[str, Any]) -> None:
        """As the protocol has it."""
        self._waiting.append((statement.sql, statement.values(parameters)))

    async def commit(self) -> None:
        """Commit what there is."""
        if self._has_begun or self._waiting:
            await self._send("COMMIT", [])

    def roll_back(self) -> None:
        """Nothing of it is kept. What comes to the thread later finds no transaction, whatever it still does of it."""
        if self._has_begun:
            answer = asyncio.get_running_loop().create_future()
            self._writer.submit([_Steps(_ROLLBACK, [], answer)])

    def _send(self, sql: str, values: list[Any]) -> "asyncio.Future[list[Row]]":
        answer: asyncio.Future[list[Row]] = asyncio.get_running_loop().create_future()
        begin = [] if self._has_begun else [_BEGIN]
        waiting, self._waiting = [*begin, *self._waiting], []
        self._writer.submit([_Steps(sql, values, answer, before=waiting)])
        self._has_begun = True
        return answer


class _InlineReader:
    """Reads in the event loop what takes no longer than some hundred microseconds; ``others`` read what takes more.

    What was asked for in one turn of the loop is read together, in the next one: beginning and ending a transaction
    takes longer than most reads, and a processor that goes from one read to the next has SQLite's code at hand. What
    somebody wrote before is seen, since the transaction begins after the asking.
    """

    def __init__(self, path: Path, others: "_Readers", limits: AccessLimits) -> None:
        self._limits = limits
        self._path = path
        self._others = others
        self._connection: sqlite3.Connection | None = None
        self._has_spent = False
        self._not_before = 0.0
        self._waiting: list[_Job] = []

    def submit(self, job: _Job) -> None:
        """Have a job run. Raises TimeoutError when too many wait."""
        if len(self._waiting) >= self._limits.max_waiting:
            raise busy()
        self._waiting.append(job)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._run)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _run(self) -> None:
        jobs, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._run)
        started = time.monotonic()
        if started >= self._not_before:
            self._read(jobs)
            taken = time.monotonic() - started
            if taken > SLOW_SECONDS:
                self._not_before = started + PAUSE * taken
        for job in jobs:
            if job.rows is not None:
                job.tell()
            elif not job.answer.done():
                self._hand_over(job)

    def _read(self, jobs: list[_Job]) -> None:
        """Leave without rows what took too long, or went wrong: whatever it is, a thread meets it too, and tells."""
        with contextlib.suppress(sqlite3.Error):
            connection = self._connection or self._open()
            if len(jobs) > 1:
                connection.execute("BEGIN")
            for job in jobs:
                if not job.answer.done():
                    self._has_spent = False
                    job.run(connection)
            if connection.in_transaction:
                # It wrote nothing; this gives free what it held.
                connection.execute("ROLLBACK")

    def _hand_over(self, job: _Job) -> None:
        job.error = None
        try:
            self._others.submit([job])
        except TimeoutError as error:
            job.answer.set_exception(error)

    def _open(self) -> sqlite3.Connection:
        # The loop waits for no lock.
        self._connection = _connect(self._path, is_read_only=True, timeout_seconds=0.0)
        self._connection.set_progress_handler(self._spend, INLINE_INSTRUCTIONS)
        return self._connection

    def _spend(self) -> bool:
        """Whether a statement goes on; SQLite asks when its instructions are spent, and counts over statements."""
        has_spent, self._has_spent = self._has_spent, True
        return has_spent


class _Readers:
    """Threads that take work from one queue. They are started when there is some."""

    is_read_only = True

    def __init__(self, path: Path, threads: int, limits: AccessLimits) -> None:
        self._limits = limits
        self._path = path
        self._threads = [threading.Thread(target=self._serve, name="sqlite", daemon=True) for _ in range(threads)]
        self._queue: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Semaphore(0)

    def submit(self, jobs: list[_Job]) -> None:
        """Have jobs run, in order. Raises TimeoutError when too many wait."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            for thread in self._threads:
                thread.start()
        if self._queue.qsize() >= self._limits.max_waiting:
            raise busy()
        self._queue.put(jobs)

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._loop is None:
            return
        for _ in self._threads:
            self._queue.put(None)
        # A thread of the loop's executor could wait for them, but that may be gone by now.
        for _ in self._threads:
            await asyncio.wait_for(self._ended.acquire(), self._limits.deadline_seconds)

    def run(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        """Run jobs; what goes wrong is theirs."""
        for job in jobs:
            job.run(connection)

    def _serve(self) -> None:
        done: list[_Job] = []
        connection: sqlite3.Connection | None = None
        while (jobs := self._queue.get()) is not None:
            try:
                connection = connection or self._open()
                self._start_clock(connection)
                self.run(connection, jobs)
            except sqlite3.Error as error:
                for job in jobs:
                    job.error = error
            done += jobs
            if self._queue.empty() or len(done) >= BATCH:
                self._tell(done)
                done = []
        self._tell(done)
        if connection is not None:
            connection.close()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ended.release)

    def _tell(self, jobs: list[_Job]) -> None:
        def tell() -> None:
            for job in jobs:
                job.tell()

        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(tell)

    def _open(self) -> sqlite3.Connection:
        return _connect(self._path, is_read_only=self.is_read_only, timeout_seconds=self._limits.deadline_seconds)

    def _start_clock(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self._limits.deadline_seconds
        connection.set_progress_handler(lambda: time.monotonic() > deadline, INSTRUCTIONS)


class _Writer(_Readers):
    """The thread that writes; all jobs that it gets together are one transaction."""

    is_read_only = False

    def run(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        """A job that goes wrong changes nothing, and the others are committed."""
        if isinstance(jobs[0], _Steps):
            super().run(connection, jobs)
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            super().run(connection, jobs)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _connect(path: Path, *, is_read_only: bool, timeout_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=timeout_seconds, cached_statements=256)
    for pragma in (*PRAGMAS, READ_ONLY_PRAGMA) if is_read_only else PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection
