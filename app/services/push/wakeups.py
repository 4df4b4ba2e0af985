"""Cross-task push: tells listeners of a topic that there is something to read.

Rows are the truth and a wake-up may be lost: whoever listens also reads again every ``POLL_SECONDS``. Only what is not
kept at all, such as the pieces of an answer that is being written, travels as the message itself.
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
    """Status changes of an owner's conversations."""
    return f"status:{owner_id}"


def events_topic(conversation_id: UUID) -> str:
    """New events of a conversation, or its deletion."""
    return f"events:{conversation_id}"


def deltas_topic(conversation_id: UUID) -> str:
    """Pieces of the answer that is being written."""
    return f"deltas:{conversation_id}"


def tool_output_topic(conversation_id: UUID) -> str:
    """Pieces of what a tool writes while it runs."""
    return f"tool_output:{conversation_id}"


def run_topic(conversation_id: UUID) -> str:
    """The conversation's active run may no longer be the active one."""
    return f"run:{conversation_id}"


def removals_topic() -> str:
    """Workspaces that have to be removed wherever they are."""
    return "removals"


class Listener:
    """What one subscriber has not taken yet: whether it was woken, and messages, of which it holds a bounded number."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._messages: deque[str] = deque()
        self.overflowed = False

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait until woken or until the time is over; tells which. Wake-ups since the last wait count."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    def take(self) -> list[str]:
        """The messages that came since the last call, oldest first."""
        taken = list(self._messages)
        self._messages.clear()
        return taken

    def wake(self, message: str | None) -> None:
        """Called by ``Wakeups``. A full listener keeps what it has and is marked as overflowed."""
        if message is not None:
            if len(self._messages) >= MAX_PENDING_MESSAGES:
                self.overflowed = True
            else:
                self._messages.append(message)
        self._woken.set()


class Wakeups(Protocol):
    """Publish and listen, by topic."""

    async def start(self) -> None:
        """Connect, if there is something to connect to."""
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
        """Whether somebody in this process listens."""
        ...


class LocalWakeups:
    """Wake-ups inside one process."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[Listener]] = {}

    async def start(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to disconnect."""

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
        """Whether somebody listens."""
        return topic in self._listeners
