"""Failover between instances on PostgreSQL: another instance resumes the runs of one that died.

Each instance holds an advisory lock named after itself while it lives. An instance that gets another one's lock knows
that the other is dead, and resumes its runs while it holds the lock.
"""

import asyncio
import contextlib
import hashlib
from typing import Protocol

import structlog
from sqlalchemy.engine import URL

from app.services.push.postgres_connection import CONNECTION_ERRORS, PostgresConnection

log = structlog.get_logger(__name__)

ROUND_SECONDS = 1.0
# Rounds after an outage without takeovers, in which all instances can reconnect and take their locks again.
GRACE_ROUNDS = 3


class Runs(Protocol):
    """The part of the engine that the takeover needs."""

    async def executors(self) -> set[str]:
        """Return the ids of instances with unfinished runs."""
        ...

    async def resume(self, executor_id: str) -> int:
        """Resume the unfinished runs of an instance, and return their number."""
        ...


class Takeover:
    """Holds this instance's lock, and periodically tries those of other instances.

    An instance that lost its connection counts as dead until it has its lock again. Runs that others have resumed
    meanwhile stay theirs: ``RunLog`` fences off writes of all but the latest attempt.
    """

    def __init__(self, url: URL, executor_id: str, runs: Runs) -> None:
        self._url = url
        self._executor_id = executor_id
        self._runs = runs
        self._connection: PostgresConnection | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take this instance's lock, and start the periodic check. Raises ``CONNECTION_ERRORS``."""
        self._connection = await self._connect()
        self._task = asyncio.create_task(self._go_round(), name="takeover")

    async def close(self) -> None:
        """Release the lock, so that other instances can take over at once."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._connection is not None:
            self._connection.close()

    async def _go_round(self) -> None:
        grace = 0
        while True:
            try:
                if self._connection is None or self._connection.is_closed:
                    self._connection = await self._connect()
                    log.info("takeover.reconnected", executor_id=self._executor_id)
                    grace = GRACE_ROUNDS
                if grace:
                    grace -= 1
                    await self._connection.ping()
                else:
                    await self._look(self._connection)
            except CONNECTION_ERRORS as error:
                log.warning("takeover.disconnected", error=type(error).__name__)
            except Exception:  # If this task ended, no runs of dead instances would be resumed.
                log.exception("takeover.failed")
            await asyncio.sleep(ROUND_SECONDS)

    async def _connect(self) -> PostgresConnection:
        connection = await PostgresConnection.open(self._url)
        try:
            await connection.lock(_key(self._executor_id))
        except BaseException:
            connection.close()
            raise
        return connection

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
