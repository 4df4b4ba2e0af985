"""Publishes the deltas of a streaming answer to subscribers, with secrets redacted."""

import asyncio
from collections.abc import Callable
from uuid import UUID, uuid4

from app.services.event import AnswerDelta
from app.services.message import storable
from app.services.push.wakeups import Wakeups, deltas_topic
from app.services.secrets.redaction import Redactor

INTERVAL_SECONDS = 0.03
MAX_PIECE_LENGTH = 1000


class AnswerStream:
    """Publishes one answer. The first delta is published at once; later ones are batched for up to 30 ms.

    The caller's secrets are redacted, also those split between deltas. ``on_published`` is called with the published
    text.
    """

    def __init__(
        self, wakeups: Wakeups, conversation_id: UUID, redactor: Redactor, on_published: Callable[[str], None]
    ) -> None:
        self._wakeups = wakeups
        self._topic = deltas_topic(conversation_id)
        self._redacted = redactor.stream()
        self._on_published = on_published
        self._answer_id = str(uuid4())
        self._pieces: list[str] = []
        self._half = ""
        self._pending = ""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def text(self) -> str:
        """The whole text so far, without redaction."""
        return "".join(self._pieces)

    async def write(self, piece: str) -> None:
        """Add a delta. A surrogate pair may be split between two deltas."""
        self._pieces.append(piece)
        text = self._half + piece
        whole = text[:-1] if "\ud800" <= text[-1:] <= "\udbff" else text
        self._half = text[len(whole) :]
        self._pending += self._redacted.feed(storable(whole))
        if self._timer is None:
            self._flush()
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._on_timer)

    def close(self) -> None:
        """Publish the rest at the end of the answer."""
        if self._timer is not None:
            self._timer.cancel()
        self._pending += self._redacted.feed(storable(self._half)) + self._redacted.finish()
        self._flush()

    def abandon(self) -> None:
        """Discard what is not published yet."""
        if self._timer is not None:
            self._timer.cancel()
        self._pending = ""

    def _on_timer(self) -> None:
        self._timer = None
        if self._pending:
            self._flush()
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._on_timer)

    def _flush(self) -> None:
        pending, self._pending = self._pending, ""
        for start in range(0, len(pending), MAX_PIECE_LENGTH):
            piece = pending[start : start + MAX_PIECE_LENGTH]
            self._wakeups.publish(self._topic, AnswerDelta(self._answer_id, piece).encode())
        if pending:
            self._on_published(pending)
