"""Wake-ups between instances by PostgreSQL's LISTEN and NOTIFY, on top of those inside the process."""

import asyncio
import contextlib
import json
from contextlib import AbstractContextManager
from uuid import uuid4

import structlog
from sqlalchemy.engine import URL

from app.services.push.postgres_connection import CONNECTION_ERRORS, PostgresConnection
from app.services.push.wakeups import Listener, LocalWakeups

log = structlog.get_logger(__name__)

CHANNEL = "parley"
MAX_QUEUED = 10_000
MAX_BATCH = 200
# PostgreSQL refuses a payload of 8,000 bytes or more.
MAX_PAYLOAD_BYTES = 7_900
RECONNECT_SECONDS = 1.0
PAUSE_SECONDS = 0.005
ALIVE_CHECK_SECONDS = 15.0


class PostgresWakeups:
    """``Wakeups`` over one connection, which listens and notifies, and is opened again whenever it is lost.

    Messages published while it is down never reach other instances, whose subscribers then rely on polling.
    """

    def __init__(self, url: URL) -> None:
        self._url = url
        self._instance = uuid4().hex
        self._local = LocalWakeups()
        self._outgoing: asyncio.Queue[str] = asyncio.Queue(MAX_QUEUED)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect in the background."""
        self._task = asyncio.create_task(self._stay_connected(), name="wakeups")

    async def close(self) -> None:
        """Disconnect."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def publish(self, topic: str, message: str | None = None) -> None:
        """Wake local listeners at once, and queue the message for other instances; if the queue is full, drop it."""
        self._local.publish(topic, message)
        payload = json.dumps([self._instance, topic, message], ensure_ascii=False)
        if len(payload.encode()) <= MAX_PAYLOAD_BYTES:
            with contextlib.suppress(asyncio.QueueFull):
                self._outgoing.put_nowait(payload)

    def listen(self, topic: str) -> AbstractContextManager[Listener]:
        """Listen until the block ends."""
        return self._local.listen(topic)

    def has_listener(self, topic: str) -> bool:
        """Tell whether anybody in this process listens."""
        return self._local.has_listener(topic)

    async def _stay_connected(self) -> None:
        while True:
            try:
                await self._converse()
            except CONNECTION_ERRORS as error:
                log.warning("wakeups.disconnected", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _converse(self) -> None:
        connection = await PostgresConnection.open(self._url)
        try:
            connection.on_lost(self._look_at_connection)
            await connection.listen(CHANNEL, self._hear)
            while True:
                await connection.tell(CHANNEL, await self._batch())
                # The first one goes out at once; those that follow share a statement.
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            connection.close()

    def _look_at_connection(self) -> None:
        """Use the connection, so that its loss is noticed now."""
        with contextlib.suppress(asyncio.QueueFull):
            self._outgoing.put_nowait("")

    async def _batch(self) -> list[str]:
        """Take a batch from the queue, or after a timeout an empty payload, as a heartbeat of the connection."""
        try:
            async with asyncio.timeout(ALIVE_CHECK_SECONDS):
                payloads = [await self._outgoing.get()]
        except TimeoutError:
            return [""]
        while len(payloads) < MAX_BATCH and not self._outgoing.empty():
            payloads.append(self._outgoing.get_nowait())
        return payloads

    def _hear(self, payload: str) -> None:
        if not payload:
            return
        instance, topic, message = json.loads(payload)
        if instance != self._instance:
            self._local.publish(topic, message)
