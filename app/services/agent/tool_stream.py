"""Publishes a tool's output to subscribers while the tool runs, throttled and with secrets redacted."""

import asyncio
from uuid import UUID

from app.services.event import ToolDelta
from app.services.message import storable
from app.services.push.wakeups import Wakeups, tool_output_topic
from app.services.secrets.redaction import Redactor

INTERVAL_SECONDS = 0.1
MAX_PIECE_LENGTH = 1000
# This allows 40,000 characters a second: people read less, and a subscriber's queue holds 1,000 messages.
MAX_PIECES_PER_INTERVAL = 4
MAX_STREAMED_LENGTH = 200_000
CUT = "\n[… the rest is not streamed …]\n"


class ToolStream:
    """Publishes one call's output. The first chunk is published at once; later ones are batched for up to 100 ms.

    If a tool writes faster than the limit, the middle is left out, with a note. The caller's secrets are redacted, also
    those split between chunks.
    """

    def __init__(self, wakeups: Wakeups, conversation_id: UUID, call_sequence: int, redactor: Redactor) -> None:
        self._wakeups = wakeups
        self._topic = tool_output_topic(conversation_id)
        self._call_sequence = call_sequence
        self._redacted = redactor.stream()
        self._pending = ""
        self._skipped = 0
        self._streamed = 0
        self._timer: asyncio.TimerHandle | None = None

    async def write(self, piece: str) -> None:
        """Add a chunk of output."""
        self._take(self._redacted.feed(storable(piece)))
        if self._timer is None:
            self._flush()
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._on_timer)

    def close(self) -> None:
        """Publish the rest at the end of the call."""
        if self._timer is not None:
            self._timer.cancel()
        self._take(self._redacted.finish())
        self._flush()

    def abandon(self) -> None:
        """Discard what is not published yet."""
        if self._timer is not None:
            self._timer.cancel()

    def _take(self, text: str) -> None:
        room = MAX_PIECE_LENGTH * MAX_PIECES_PER_INTERVAL - len(self._pending)
        self._pending += text[:room]
        self._skipped += len(text) - len(text[:room])

    def _on_timer(self) -> None:
        self._timer = None
        if self._pending:
            self._flush()
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._on_timer)

    def _flush(self) -> None:
        pending, self._pending = self._pending, ""
        if not pending or self._streamed >= MAX_STREAMED_LENGTH:
            return
        if self._skipped:
            pending += f"\n[… {self._skipped} characters not streamed …]\n"
            self._skipped = 0
        self._streamed += len(pending)
        if self._streamed >= MAX_STREAMED_LENGTH:
            pending += CUT
        for start in range(0, len(pending), MAX_PIECE_LENGTH):
            piece = pending[start : start + MAX_PIECE_LENGTH]
            self._wakeups.publish(self._topic, ToolDelta(self._call_sequence, piece).encode())
