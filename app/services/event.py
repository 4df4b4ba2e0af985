"""Use cases of a conversation's log: append events, read pages, and follow new events and deltas."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.errors import InvalidInput, SlowSubscriber, conversation_not_found
from app.models.conversation import Conversation
from app.models.database.database import Database
from app.models.database.row import Rows
from app.models.database.unit_of_work import Writes
from app.models.event import Event, EventQuery, NewEvent, count_event, new_row
from app.models.rows.conversation_state import ConversationStates
from app.models.rows.event import EventRow, EventRows
from app.services.outage import until_answered
from app.services.push.progress import Progress
from app.services.push.wakeups import POLL_SECONDS, Wakeups, deltas_topic, events_topic, tool_output_topic

FOLLOW_BATCH = 100
# Seconds for which the database may be away before subscriptions fail.
MAX_OUTAGE_SECONDS = 300.0


def append(
    session: Writes, conversation: Conversation, run: int, events: Sequence[NewEvent], now: datetime
) -> list[Event]:
    """Append events to a locked conversation's log, with the next sequence numbers."""
    rows: list[Event] = []
    for event in events:
        sequence = count_event(conversation, event)
        rows.append(new_row(conversation.id, run, sequence, event, now))
        session.add(rows[-1])
    conversation.touch(now)
    return rows


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, oldest first. ``has_more``: there are later ones, or earlier ones if the page was read backward."""

    rows: Rows[EventRow]
    has_more: bool


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    """A piece of a streaming answer."""

    answer_id: str
    text: str

    def encode(self) -> str:
        """Encode for ``Wakeups.publish``."""
        return json.dumps([self.answer_id, self.text], ensure_ascii=False)

    @classmethod
    def decode(cls, message: str) -> "AnswerDelta":
        """Decode what ``encode`` returned."""
        answer_id, text = json.loads(message)
        return cls(answer_id, text)


@dataclass(frozen=True, slots=True)
class ToolDelta:
    """A piece of a running tool's output. ``call_sequence`` is the sequence of the call's event."""

    call_sequence: int
    text: str

    def encode(self) -> str:
        """Encode for ``Wakeups.publish``."""
        return json.dumps([self.call_sequence, self.text], ensure_ascii=False)

    @classmethod
    def decode(cls, message: str) -> "ToolDelta":
        """Decode what ``encode`` returned."""
        call_sequence, text = json.loads(message)
        return cls(call_sequence, text)


class EventService:
    """Reads and follows the logs of an owner's conversations."""

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self._database = database
        self._rows = EventRows(database)
        self._states = ConversationStates(database)
        self._wakeups = wakeups

    async def pages(self, owner_id: str, queries: Sequence[EventQuery]) -> list[EventPage]:
        """Read a page for each query, all with one statement."""
        pages = await self._rows.pages(owner_id, queries)
        return [_trim(rows, query) for rows, query in zip(pages, queries, strict=True)]

    async def get_many(self, owner_id: str, keys: Sequence[tuple[UUID, int]]) -> list[EventRow | None]:
        """Return events by (conversation id, sequence), in the given order, with ``None`` for those of other owners."""
        return await self._rows.get_many(owner_id, keys)

    async def follow(
        self, owner_id: str, conversation_id: UUID, after: int | None, progress: Progress
    ) -> AsyncGenerator[EventRow]:
        """Yield the events after ``after`` (``None``: after the current last one), then new ones until the deletion.

        It listens for wake-ups before the first read, and each read begins after the last event yielded. So no event is
        lost or duplicated, and a slow consumer buffers one batch at most. ``progress`` counts in sequences. An outage
        of the database is waited for, up to ``MAX_OUTAGE_SECONDS``. Raises NotFound, and InvalidInput if ``after`` is
        greater than the last sequence.
        """
        with self._wakeups.listen(events_topic(conversation_id)) as listener:
            cursor = progress.position
            if cursor is None:
                cursor = await self._first_position(owner_id, conversation_id, after)
            while True:
                batch = await self._behind(conversation_id, cursor)
                for event in batch:
                    cursor = progress.position = event.sequence
                    yield event
                if len(batch) == FOLLOW_BATCH:
                    continue
                if await self._is_gone(owner_id, conversation_id) or progress.level(cursor):
                    return
                await listener.wait(POLL_SECONDS)

    async def deltas(self, owner_id: str, conversation_id: UUID, progress: Progress) -> AsyncGenerator[AnswerDelta]:
        """Yield the deltas of answers from now on, until the deletion.

        ``progress`` counts the deltas. They are not stored: a subscriber that can't keep up, or wants to resume, gets
        SlowSubscriber. Raises NotFound.
        """
        topic = deltas_topic(conversation_id)
        async with aclosing(self._messages(owner_id, conversation_id, topic, progress)) as messages:
            async for message in messages:
                yield AnswerDelta.decode(message)

    async def tool_deltas(self, owner_id: str, conversation_id: UUID, progress: Progress) -> AsyncGenerator[ToolDelta]:
        """Yield the deltas of tools' output from now on, until the deletion. Raises the same errors as ``deltas``."""
        topic = tool_output_topic(conversation_id)
        async with aclosing(self._messages(owner_id, conversation_id, topic, progress)) as messages:
            async for message in messages:
                yield ToolDelta.decode(message)

    async def _messages(
        self, owner_id: str, conversation_id: UUID, topic: str, progress: Progress
    ) -> AsyncGenerator[str]:
        with self._wakeups.listen(topic) as listener:
            is_gone = await self._is_gone(owner_id, conversation_id)
            if progress.position is not None:
                if is_gone:
                    return
                raise _too_slow()
            if is_gone:
                raise conversation_not_found("conversationId")
            if progress.level(None):
                return
            progress.position = 0
            while True:
                messages = listener.take()
                for message in messages:
                    progress.position += 1
                    yield message
                if listener.overflowed:
                    raise _too_slow()
                if not messages and await self._is_gone(owner_id, conversation_id):
                    return
                await listener.wait(POLL_SECONDS)

    async def _behind(self, conversation_id: UUID, cursor: int) -> Rows[EventRow]:
        return await until_answered(lambda: self._rows.after(conversation_id, cursor, FOLLOW_BATCH), MAX_OUTAGE_SECONDS)

    async def _first_position(self, owner_id: str, conversation_id: UUID, after: int | None) -> int:
        last = await self._last_sequence(owner_id, conversation_id)
        if last is None:
            raise conversation_not_found("conversationId")
        if after is None:
            return last
        if after > last:
            # Otherwise the subscriber would miss all events until the log is that long.
            message = "The cursor is not of this log, which ends before it."
            raise InvalidInput(message, path=("after",))
        return after

    async def _is_gone(self, owner_id: str, conversation_id: UUID) -> bool:
        return await self._last_sequence(owner_id, conversation_id) is None

    async def _last_sequence(self, owner_id: str, conversation_id: UUID) -> int | None:
        return await until_answered(lambda: self._states.last_sequence(owner_id, conversation_id), MAX_OUTAGE_SECONDS)


def _too_slow() -> SlowSubscriber:
    return SlowSubscriber("Too many pieces wait to be taken.")


def _trim(rows: Rows[EventRow], query: EventQuery) -> EventPage:
    has_more = len(rows) > query.limit
    if has_more:
        rows = rows[1:] if query.backward else rows[:-1]
    return EventPage(rows, has_more)
