"""Publish/subscribe by topic: a wake-up tells listeners that there is something to read in the database.

Wake-ups may be lost, so listeners also poll every ``POLL_SECONDS``. Only data that is never stored, such as the deltas
of a streaming answer, travels in the message itself.
"""

import asyncio
from collections import deque
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol
from uuid import UUID

POLL_SECONDS = 2.0
MAX_PENDING_MESSAGES = 1000


def status_topic(owner_id: str) -> str:
    """Name the topic of status changes of an owner's conversations."""
    return f"status:{owner_id}"


def events_topic(conversation_id: UUID) -> str:
    """Name the topic of a conversation's new events, and of its deletion."""
    return f"events:{conversation_id}"


def deltas_topic(conversation_id: UUID) -> str:
    """Name the topic of the deltas of an answer while it streams; messages carry the text."""
    return f"deltas:{conversation_id}"


def tool_output_topic(conversation_id: UUID) -> str:
    """Name the topic of a tool's output while it runs; messages carry the text."""
    return f"tool_output:{conversation_id}"


def workspace_topic(conversation_id: UUID) -> str:
    """Name the topic of a conversation's workspace, which is woken when its files may have changed."""
    return f"workspace:{conversation_id}"


def run_topic(conversation_id: UUID) -> str:
    """Name the topic that tells a run that it may no longer be the conversation's active one."""
    return f"run:{conversation_id}"


def removals_topic() -> str:
    """Name the topic of new removals of workspaces, which concern every instance."""
    return "removals"


class Listener:
    """One subscriber's inbox: a flag that it was woken, and a bounded queue of messages.

    ``overflowed`` is set when a message was dropped since the queue was full.
    """

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._messages: deque[str] = deque()
        self.overflowed = False

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait for a wake-up, including one since the last wait. Returns False on timeout."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    def take(self) -> list[str]:
        """Return and clear the queued messages, oldest first."""
        taken = list(self._messages)
        self._messages.clear()
        return taken

    def wake(self, message: str | None) -> None:
        """Deliver a wake-up; only ``Wakeups`` calls this. If the queue is full, the message is dropped."""
        if message is not None:
            if len(self._messages) >= MAX_PENDING_MESSAGES:
                self.overflowed = True
            else:
                self._messages.append(message)
        self._woken.set()


class Wakeups(Protocol):
    """Publish/subscribe by topic."""

    async def start(self) -> None:
        """Start connecting in the background, if the implementation has a connection."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...

    def publish(self, topic: str, message: str | None = None) -> None:
        """Wake the topic's listeners; never blocks, never fails."""
        ...

    def listen(self, topic: str) -> AbstractContextManager[Listener]:
        """Listen until the block ends."""
        ...

    def has_listener(self, topic: str) -> bool:
        """Tell whether anybody in this process listens."""
        ...


class LocalWakeups:
    """``Wakeups`` inside one process, without a connection."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[Listener]] = {}

    async def start(self) -> None:
        """Do nothing, since there is no connection."""

    async def close(self) -> None:
        """Do nothing, since there is no connection."""

    def publish(self, topic: str, message: str | None = None) -> None:
        """Wake the topic's listeners."""
        for listener in self._listeners.get(topic, ()):
            listener.wake(message)

    @contextmanager
    def listen(self, topic: str) -> Generator[Listener]:
        """Listen until the block ends."""
        listener = Listener()
        self._listeners.setdefault(topic, set()).add(listener)
        try:
            yield listener
        finally:
            listeners = self._listeners[topic]
            listeners.discard(listener)
            if not listeners:
                del self._listeners[topic]

    def has_listener(self, topic: str) -> bool:
        """Tell whether anybody listens."""
        return topic in self._listeners
