"""Runs of an instance that died go on in another one, on PostgreSQL.

Every instance holds an advisory lock of its own name for as long as it lives. Whoever gets the lock of another one
knows that it is dead, and resumes its runs while it holds the lock.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
from collections.abc import Callable
from typing import Protocol

import structlog
from sqlalchemy.engine import URL

from app.services.postgres_connection import CONNECTION_ERRORS, PostgresConnection

log = structlog.get_logger(__name__)

ROUND_SECONDS = 1.0


class Runs(Protocol):
    """What the engine knows of the instances' runs."""

    async def executors(self) -> set[str]:
        """The instances that own unfinished runs."""
        ...

    async def resume(self, executor_id: str) -> int:
        """Take up an instance's unfinished runs; tells how many."""
        ...


class Takeover:
    """Holds this instance's lock, and looks for the locks of the dead."""

    def __init__(self, url: URL, executor_id: str, runs: Runs, on_lost: Callable[[], object] | None = None) -> None:
        self._url = url
        self._executor_id = executor_id
        self._runs = runs
        self._on_lost = on_lost or _end_process
        self._connection: PostgresConnection | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take this instance's lock."""
        self._connection = connection = await PostgresConnection.open(self._url)
        await connection.lock(_key(self._executor_id))
        self._task = asyncio.create_task(self._go_round(connection), name="takeover")

    async def close(self) -> None:
        """Give the lock back, so that others take over at once."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._connection is not None:
            self._connection.close()

    async def _go_round(self, connection: PostgresConnection) -> None:
        while True:
            try:
                await self._look(connection)
            except CONNECTION_ERRORS as error:
                if connection.is_closed:
                    # Others may hold the lock by now and run what this process runs: it must not go on.
                    log.critical("takeover.lock_lost", error=type(error).__name__)
                    self._on_lost()
                    return
                log.warning("takeover.failed", error=type(error).__name__)
            await asyncio.sleep(ROUND_SECONDS)

    async def _look(self, connection: PostgresConnection) -> None:
        await connection.ping()
        for executor_id in await self._runs.executors() - {self._executor_id}:
            if await connection.try_lock(_key(executor_id)):
                try:
                    count = await self._runs.resume(executor_id)
                    log.info("takeover.resumed", executor_id=executor_id, runs=count)
                finally:
                    await connection.unlock(_key(executor_id))


def _key(executor_id: str) -> int:
    return int.from_bytes(hashlib.sha256(executor_id.encode()).digest()[:8], signed=True)


def _end_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
