"""Statuses: how one is changed, so that every change is a row that subscribers read in order."""

from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.conversation import (
    IDLE_STATES,
    AgentState,
    Conversation,
    ConversationRepository,
    ConversationStatus,
    Problem,
)
from app.models.event import EventSource, NewEvent, StateChangeBody
from app.models.owner import OwnerRepository
from app.models.status_change import StatusChange, StatusChangeRepository
from app.services.event import append
from app.services.message import storable

REASON_MAX_LENGTH = 1000


async def lock(session: AsyncSession, conversation: Conversation) -> Conversation | None:
    """The conversation as it is now, unchanged by others until the transaction ends; ``None`` once deleted."""
    await OwnerRepository(session).lock(conversation.owner_id)
    return await ConversationRepository(session).lock(conversation.owner_id, conversation.id)


async def change_status(
    session: AsyncSession,
    conversation: Conversation,
    now: datetime,
    *,
    status: ConversationStatus,
    agent_state: AgentState | None = None,
    logged_state: AgentState | None = None,
    problem: Problem | None = None,
    is_logged: bool = True,
) -> None:
    """Write a new status into a locked conversation, and a row that tells subscribers of it.

    ``agent_state`` also becomes an event of the log; ``logged_state`` is that event's state where the status has
    no agent state (a stopped agent is ``PAUSED``). Nothing happens when nothing changes.
    """
    code = problem.code.name if problem else None
    message = storable(problem.message)[:REASON_MAX_LENGTH] if problem else None
    before = (conversation.status, conversation.agent_state, conversation.reason_code, conversation.reason_message)
    if before == (status, agent_state, code, message):
        return
    sequence = await OwnerRepository(session).next_status_sequence(conversation.owner_id)
    is_new = conversation.status_sequence == 0
    previous_status, previous_state = None if is_new else conversation.status, conversation.agent_state
    conversation.status = status
    conversation.agent_state = agent_state
    conversation.reason_code = code
    conversation.reason_message = message
    conversation.status_sequence = sequence
    conversation.touch(now)
    conversation.waiting_since = now if agent_state in IDLE_STATES else None
    StatusChangeRepository(session).add(
        StatusChange(
            owner_id=conversation.owner_id,
            sequence=sequence,
            conversation_id=conversation.id,
            previous_status=previous_status,
            status=status,
            agent_state=agent_state,
            reason_code=code,
            reason_message=message,
            occurred_at=now,
        )
    )
    state = logged_state or agent_state
    if is_logged and state is not None and (state != previous_state or problem is not None):
        event = NewEvent(EventSource.ENVIRONMENT, StateChangeBody(state, problem))
        append(session, conversation, conversation.active_run or conversation.last_run, [event], now)


async def record_deletion(session: AsyncSession, conversation: Conversation, now: datetime) -> None:
    """Tell subscribers that the conversation is gone."""
    sequence = await OwnerRepository(session).next_status_sequence(conversation.owner_id)
    StatusChangeRepository(session).add(
        StatusChange(
            owner_id=conversation.owner_id,
            sequence=sequence,
            conversation_id=conversation.id,
            is_deletion=True,
            previous_status=conversation.status,
            status=conversation.status,
            occurred_at=now,
        )
    )
