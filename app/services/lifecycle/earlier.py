"""Results of mutations that are asked for again with their idempotency keys."""

from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import conversation_not_found
from app.models.conversation import Conversation, ConversationRepository
from app.models.event import Event, EventRepository
from app.models.idempotency import IdempotencyKey


async def created(session: AsyncSession, owner_id: str, earlier: IdempotencyKey) -> Conversation:
    """Return the conversation that was created. Raises NotFound if it has been deleted."""
    conversation = await ConversationRepository(session).get(owner_id, earlier.conversation_id)
    if conversation is None:
        raise conversation_not_found("idempotencyKey")
    return conversation


async def sent(session: AsyncSession, owner_id: str, earlier: IdempotencyKey | None) -> tuple[Conversation, Event]:
    """Return the message that was sent, and its conversation. Raises NotFound if it has been deleted."""
    if earlier is None:
        raise conversation_not_found("conversationId")
    conversation = await ConversationRepository(session).get(owner_id, earlier.conversation_id)
    key = (earlier.conversation_id, earlier.event_sequence or 0)
    [event] = await EventRepository(session).get_many(owner_id, [key])
    if conversation is None or event is None:
        raise conversation_not_found("conversationId")
    return conversation, event
