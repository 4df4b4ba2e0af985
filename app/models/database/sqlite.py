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
# Reads that share one transaction in the event loop; also results that a thread passes to the loop in one wake-up.
BATCH = 32
# SQLite's virtual machine instructions between two checks of the deadline: some milliseconds.
INSTRUCTIONS = 100_000
# Instructions that a read may take in the event loop. A page of 100 conversations takes some 7,000, or 0.2 ms.
INLINE_INSTRUCTIONS = 15_000
# If a batch in the event loop takes longer than SLOW_SECONDS, the disk may be slow: then threads do all reads for PAUSE
# times as long as the batch took.
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
    """A statement to run, with the future of its rows."""

    sql: str
    values: list[Any]
    answer: "asyncio.Future[list[Row]]"
    rows: list[Row] | None = None
    error: sqlite3.Error | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Run the statement and store rows or error, without touching the future: any thread may call this."""
        try:
            self.rows = connection.execute(self.sql, self.values).fetchall()
        except sqlite3.Error as error:
            self.error = error

    def tell(self) -> None:
        """Resolve the future; only the event loop's thread may call this."""
        if self.answer.done():
            return
        if self.error is None:
            self.answer.set_result(self.rows or [])
        else:
            self.answer.set_exception(fault(self.sql, self.error, sqlite3.Error))


@dataclass(slots=True)
class _Steps(_Job):
    """Some statements of a transaction, run together. The rows of the last one are returned."""

    before: list[tuple[str, list[Any]]] = field(default_factory=list[tuple[str, list[Any]]])

    def run(self, connection: sqlite3.Connection) -> None:
        """Run the statement and store rows or error, without touching the future: any thread may call this."""
        try:
            steps = [*self.before, (self.sql, self.values)]
            for sql, values in steps:
                # An error names the statement that failed.
                self.sql = sql
                if sql != _ROLLBACK or connection.in_transaction:
                    self.rows = connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            self.error = error
            if connection.in_transaction:
                connection.execute(_ROLLBACK)


class SQLiteAccess:
    """``DirectAccess`` for SQLite. Readers never wait for the writer (WAL), and writes that queue up share one commit.

    Short reads run in the event loop, since passing one to a thread takes longer than the read itself. A read that
    exceeds its budget of instructions is aborted and run by a thread; while the disk is slow, all reads are.
    ``writing`` is the lock of SQLite's only writer, shared with the ORM's sessions.
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
        """Read in the event loop, with the threads as the fallback."""
        job = _Job(statement.sql, statement.values(parameters), asyncio.get_running_loop().create_future())
        self._inline.submit(job)
        return await job.answer

    async def write(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Queue the write for the next transaction, which is shared with all other queued writes."""
        job = _Job(statement.sql, statement.values(parameters), asyncio.get_running_loop().create_future())
        if len(self._waiting) >= self._limits.max_waiting:
            raise busy()
        self._waiting.append(job)
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        # Cancelling the caller cancels the future too, and a queued job with a cancelled future is skipped.
        with full_disk_told():
            return await job.answer

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[DirectTransaction]:
        """Hold the writer's lock in the block; commit at its end, and roll back if it raises."""
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
        """Wait for the threads to finish their jobs, and close all connections."""
        self._inline.close()
        await self._readers.close()
        await self._writer.close()


class _SQLiteTransaction:
    """A transaction on the writer's connection. Deferred statements are sent to its thread with the next one."""

    def __init__(self, writer: "_Writer") -> None:
        self._writer = writer
        self._waiting: list[tuple[str, list[Any]]] = []
        self._has_begun = False

    async def run(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Run the deferred statements, then this one, whose rows are returned."""
        return await self._send(statement.sql, statement.values(parameters))

    def later(self, statement: Statement, parameters: Mapping[str, Any]) -> None:
        """Defer a statement until the next one is run, or until the commit."""
        self._waiting.append((statement.sql, statement.values(parameters)))

    async def commit(self) -> None:
        """Run the deferred statements and commit. Without any statement, nothing is sent."""
        if self._has_begun or self._waiting:
            await self._send("COMMIT", [])

    def roll_back(self) -> None:
        """Roll back in the writer's thread, without waiting for it."""
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
    """Runs reads of at most some hundred microseconds in the event loop; ``others`` are the threads for longer ones.

    Reads that are submitted in one iteration of the loop run as a batch in the next, in one transaction: its BEGIN and
    ROLLBACK take longer than most reads, and reads in a row keep SQLite's code in the processor's cache. A read sees
    all earlier commits, since the transaction begins after the read was submitted.
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
        """Queue a job for the next batch. Raises TimeoutError if the queue is full."""
        if len(self._waiting) >= self._limits.max_waiting:
            raise busy()
        self._waiting.append(job)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._run)

    def close(self) -> None:
        """Close the event loop's connection."""
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
        """Run a batch. A job that exceeds its budget or fails gets no rows: a thread repeats it and reports errors."""
        with contextlib.suppress(sqlite3.Error):
            connection = self._connection or self._open()
            if len(jobs) > 1:
                connection.execute("BEGIN")
            for job in jobs:
                if not job.answer.done():
                    self._has_spent = False
                    job.run(connection)
            if connection.in_transaction:
                # The transaction only read, so ROLLBACK just releases its snapshot.
                connection.execute("ROLLBACK")

    def _hand_over(self, job: _Job) -> None:
        job.error = None
        try:
            self._others.submit([job])
        except TimeoutError as error:
            job.answer.set_exception(error)

    def _open(self) -> sqlite3.Connection:
        # With a timeout of 0 the event loop never blocks on SQLite's locks.
        self._connection = _connect(self._path, is_read_only=True, timeout_seconds=0.0)
        self._connection.set_progress_handler(self._spend, INLINE_INSTRUCTIONS)
        return self._connection

    def _spend(self) -> bool:
        """SQLite's progress handler: returning True at the second call aborts the statement.

        SQLite counts instructions across statements, so the first call may come early and only sets a flag.
        """
        has_spent, self._has_spent = self._has_spent, True
        return has_spent


class _Readers:
    """A pool of threads with a connection each, which share one queue. They are started by the first job."""

    is_read_only = True

    def __init__(self, path: Path, threads: int, limits: AccessLimits) -> None:
        self._limits = limits
        self._path = path
        self._threads = [threading.Thread(target=self._serve, name="sqlite", daemon=True) for _ in range(threads)]
        self._queue: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Semaphore(0)

    def submit(self, jobs: list[_Job]) -> None:
        """Queue jobs that one thread runs in order. Raises TimeoutError if the queue is full."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            for thread in self._threads:
                thread.start()
        if self._queue.qsize() >= self._limits.max_waiting:
            raise busy()
        self._queue.put(jobs)

    async def close(self) -> None:
        """Wait until the threads have finished all queued jobs and ended."""
        if self._loop is None:
            return
        for _ in self._threads:
            self._queue.put(None)
        # ``Thread.join`` would need the event loop's executor, which may be shut down already.
        for _ in self._threads:
            await asyncio.wait_for(self._ended.acquire(), self._limits.deadline_seconds)

    def run(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        """Run jobs one after another; an error fails only its own job."""
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
    """The thread of the only writer, which runs each list of jobs as one transaction."""

    is_read_only = False

    def run(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        """Run the jobs and commit. A job that fails has no effect, since SQLite undoes a failed statement."""
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
