"""The use case by which a user marks a conversation's events as read."""

from uuid import UUID

from app.errors import NotFound, conversation_not_found
from app.models.conversation import Conversation
from app.models.database.database import Database
from app.models.rows.conversation_state import ConversationStates
from app.models.run_writes import RunWrites
from app.services.clock import Clock
from app.services.lifecycle import moves
from app.services.push.wakeups import Wakeups, status_topic


class ReadMarkService:
    """Moves the mark behind the last event that the user has read; it never goes back."""

    def __init__(self, database: Database, wakeups: Wakeups, clock: Clock) -> None:
        self._database = database
        self._states = ConversationStates(database)
        self._wakeups = wakeups
        self._clock = clock

    async def mark(self, owner_id: str, conversation_id: UUID, sequence: int | None) -> Conversation:
        """Mark the events up to ``sequence`` as read (``None``: all of them), and tell subscribers if that is new.

        Raises NotFound.
        """
        # The owner is checked before any lock is taken, so that nobody can hold up another caller's conversation.
        if await self._states.last_sequence(owner_id, conversation_id) is None:
            raise conversation_not_found("conversationId")
        async with self._database.unit_of_work() as unit:
            conversation = await RunWrites(unit).lock(conversation_id, with_owner=True)
            if conversation is None:
                raise conversation_not_found("conversationId")
            if sequence is not None and sequence > conversation.last_sequence:
                raise event_not_found()
            read = conversation.last_sequence if sequence is None else sequence
            is_new = read > conversation.read_sequence
            if is_new:
                conversation.read_sequence = read
                await moves.organise(unit, conversation, self._clock())
        if is_new:
            self._wakeups.publish(status_topic(owner_id))
        return conversation


def event_not_found() -> NotFound:
    """Build the error for an event that is not in the conversation."""
    return NotFound("The event does not exist.", path=("eventId",))
