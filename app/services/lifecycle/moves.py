"""The state machine of conversations and their runs: the only place that assigns a status, an agent's state and a run.

::

                         receive, start                         begin_attempt (any number of times)
    STOPPED, ERROR ───────────────────────► STARTING ◄──── create
        ▲      ▲                               │
        │      │ fail                     work │
        │      ├───────────────────────────────┤
        │      │                               ▼
        │      └─────────────────────────── RUNNING: LOADING, RUNNING, RATE_LIMITED, AWAITING_USER_CONFIRMATION
        │ stop                              │     ▲
        │                           end_run │     │ receive
        │                                   ▼     │
        └────────────────────────────────── RUNNING: AWAITING_USER_INPUT, PAUSED

A run is what one user message causes. ``receive`` hands out a run where none is active, and queues one behind the
active one elsewhere: ``end_run`` then makes the next one active instead of waiting. ``ARCHIVED`` conversations take
``remove`` alone.

Every move is made on a locked conversation, inside a transaction; ``announce`` follows its commit.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import InvalidState
from app.models.conversation import (
    IDLE_STATES,
    LIVE_STATUSES,
    AgentState,
    Conversation,
    ConversationRepository,
    ConversationStatus,
    Problem,
)
from app.models.database.unit_of_work import UnitOfWork, Writes, made
from app.models.event import Event, EventSource, MessageBody, NewEvent, StateChangeBody, new_row
from app.models.owner import OwnerRepository
from app.models.replay import ReplayRepository
from app.models.run_writes import RunWrites
from app.models.status_change import StatusChange
from app.services.event import append
from app.services.message import storable
from app.services.push.wakeups import Wakeups, events_topic, run_topic, status_topic

REASON_MAX_LENGTH = 1000
_STARTABLE = (ConversationStatus.STOPPED, ConversationStatus.ERROR)


async def lock(session: Writes, conversation: Conversation) -> Conversation | None:
    """The conversation as it is now, unchanged by others until the transaction ends; ``None`` once deleted."""
    if isinstance(session, UnitOfWork):
        return await RunWrites(session).lock(conversation.id, with_owner=True)
    await OwnerRepository(session).lock(conversation.owner_id)
    return await ConversationRepository(session).lock(conversation.owner_id, conversation.id)


async def lock_for_run(session: Writes, conversation_id: UUID) -> Conversation | None:
    """As ``lock``, whoever owns the conversation."""
    if isinstance(session, UnitOfWork):
        return await RunWrites(session).lock(conversation_id, with_owner=True)
    owner_id = await OwnerRepository(session).lock_of(conversation_id)
    return await ConversationRepository(session).lock(owner_id, conversation_id) if owner_id is not None else None


def announce(wakeups: Wakeups, *conversations: Conversation) -> None:
    """Wake whoever follows a conversation's status and events, and its run, which may no longer be the active one."""
    for conversation in conversations:
        wakeups.publish(status_topic(conversation.owner_id))
        wakeups.publish(events_topic(conversation.id))
        wakeups.publish(run_topic(conversation.id))


async def create(
    session: Writes, conversation: Conversation, now: datetime, *, message: MessageBody | None, run: int = 1
) -> None:
    """Store a new conversation with its first message. ``run`` is the first that is worked on."""
    conversation.last_run = run
    begin_run(conversation, run)
    await _change_status(session, conversation, now, ConversationStatus.STARTING)
    session.add(conversation)
    if message is None:
        await session.flush()
        return
    # The event refers to the row, which is written before it; with its place in the log, or it were written twice.
    conversation.last_sequence = 1
    await session.flush()
    session.add(new_row(conversation.id, run, 1, NewEvent(EventSource.USER, message), now))


async def receive(session: Writes, conversation: Conversation, now: datetime, message: MessageBody) -> Event:
    """Append a user message, and hand out the run that answers it. Raises InvalidState."""
    if conversation.status == ConversationStatus.ARCHIVED:
        raise InvalidState("An archived conversation takes no messages.", status=conversation.status)
    is_live = conversation.status in LIVE_STATUSES
    is_queued = is_live and conversation.active_run is not None
    conversation.last_run += 1
    if not is_queued:
        begin_run(conversation, conversation.last_run)
    [event] = append(session, conversation, conversation.last_run, [NewEvent(EventSource.USER, message)], now)
    if not is_live:
        await _change_status(session, conversation, now, ConversationStatus.STARTING)
    elif not is_queued:
        await _change_status(session, conversation, now, ConversationStatus.RUNNING, AgentState.RUNNING)
    return event


def check_start(conversation: Conversation) -> None:
    """Raise InvalidState unless the conversation can be started."""
    if conversation.status not in _STARTABLE:
        message = f"Only a stopped or failed conversation can be started; this one is {conversation.status}."
        raise InvalidState(message, status=conversation.status)


async def start(session: Writes, conversation: Conversation, now: datetime) -> None:
    """Hand out a run without a message, after which the agent waits for one. Raises InvalidState."""
    check_start(conversation)
    conversation.last_run += 1
    begin_run(conversation, conversation.last_run)
    await _change_status(session, conversation, now, ConversationStatus.STARTING)


async def stop(session: Writes, conversation: Conversation, now: datetime, problem: Problem | None = None) -> None:
    """Stop: from this commit on its run appends nothing, and its replay is over. Raises InvalidState."""
    if conversation.status not in LIVE_STATUSES:
        message = f"Only a starting or running conversation can be stopped; this one is {conversation.status}."
        raise InvalidState(message, status=conversation.status)
    await settle(session, conversation, now, ConversationStatus.STOPPED, None, problem)
    await _discard_replay(session, conversation)


def begin_run(conversation: Conversation, run: int) -> None:
    """Make a run the active one."""
    conversation.active_run = run
    conversation.run_attempts = 0


def begin_attempt(conversation: Conversation) -> int:
    """Count another attempt at the active run, which ends the one before it; its number."""
    conversation.run_attempts += 1
    return conversation.run_attempts


async def work(
    session: Writes,
    conversation: Conversation,
    now: datetime,
    agent_state: AgentState,
    problem: Problem | None = None,
    *,
    is_logged: bool = True,
) -> None:
    """Say what the agent does while its run is active. ``is_logged``: whether the state becomes an event."""
    await _change_status(
        session, conversation, now, ConversationStatus.RUNNING, agent_state, problem=problem, is_logged=is_logged
    )


async def end_run(
    session: Writes,
    conversation: Conversation,
    now: datetime,
    run: int,
    problem: Problem | None = None,
    *,
    is_logged: bool = True,
) -> None:
    """Make the next queued run the active one; where there is none wait for input, with a problem paused.

    ``is_logged``: whether the state becomes an event.
    """
    if problem is not None:
        # The next user message goes on, with the whole budget again.
        conversation.budget_from_usd = conversation.cost_usd
    if conversation.last_run > run:
        begin_run(conversation, run + 1)
        return
    state = AgentState.PAUSED if problem else AgentState.AWAITING_USER_INPUT
    await settle(session, conversation, now, ConversationStatus.RUNNING, state, problem, is_logged=is_logged)


async def fail(session: Writes, conversation: Conversation, now: datetime, problem: Problem) -> None:
    """End the run in ERROR, with what is queued behind it and what is left of a replay."""
    await settle(session, conversation, now, ConversationStatus.ERROR, None, problem)
    # Or the next message would run into the same fault again.
    await _discard_replay(session, conversation)


async def settle(
    session: Writes,
    conversation: Conversation,
    now: datetime,
    status: ConversationStatus,
    agent_state: AgentState | None,
    problem: Problem | None = None,
    *,
    is_logged: bool = True,
) -> None:
    """End the active run in a state. The other moves are made of it; by itself it serves demonstrations."""
    await _change_status(session, conversation, now, status, agent_state, problem=problem, is_logged=is_logged)
    conversation.active_run = None


async def remove(session: AsyncSession, conversation: Conversation, now: datetime) -> None:
    """Delete the row, with all that hangs on it, and tell subscribers that the conversation is gone."""
    sequence = await _next_status_sequence(session, conversation.owner_id)
    session.add(
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
    await ConversationRepository(session).delete(conversation.id)


# The state that the log tells where the conversation has none.
_LOGGED_STATES = {ConversationStatus.STOPPED: AgentState.PAUSED, ConversationStatus.ERROR: AgentState.ERROR}


async def _change_status(
    session: Writes,
    conversation: Conversation,
    now: datetime,
    status: ConversationStatus,
    agent_state: AgentState | None = None,
    *,
    problem: Problem | None = None,
    is_logged: bool = True,
) -> None:
    """Write a new status, a row that tells subscribers of it, and an event of the log where the state is another.

    Nothing happens when nothing changes.
    """
    code = problem.code.name if problem else None
    message = storable(problem.message)[:REASON_MAX_LENGTH] if problem else None
    before = (conversation.status, conversation.agent_state, conversation.reason_code, conversation.reason_message)
    if before == (status, agent_state, code, message) and conversation.status_sequence:
        return
    sequence = await _next_status_sequence(session, conversation.owner_id)
    is_new = conversation.status_sequence == 0
    previous_status, previous_state = None if is_new else conversation.status, conversation.agent_state
    conversation.status = status
    conversation.agent_state = agent_state
    conversation.reason_code = code
    conversation.reason_message = message
    conversation.status_sequence = sequence
    conversation.touch(now)
    conversation.waiting_since = now if agent_state in IDLE_STATES else None
    change: dict[str, Any] = {
        "owner_id": conversation.owner_id,
        "sequence": sequence,
        "conversation_id": conversation.id,
        "is_deletion": False,
        "previous_status": previous_status,
        "status": status,
        "agent_state": agent_state,
        "reason_code": code,
        "reason_message": message,
        "occurred_at": now,
    }
    session.add(made(StatusChange, change))
    state = agent_state or _LOGGED_STATES.get(status)
    if is_logged and state is not None and (state != previous_state or problem is not None):
        event = NewEvent(EventSource.ENVIRONMENT, StateChangeBody(state, problem))
        append(session, conversation, conversation.active_run or conversation.last_run, [event], now)


async def _next_status_sequence(session: Writes, owner_id: str) -> int:
    if isinstance(session, UnitOfWork):
        return await RunWrites(session).next_status_sequence(owner_id)
    return await OwnerRepository(session).next_status_sequence(owner_id)


async def _discard_replay(session: Writes, conversation: Conversation) -> None:
    if isinstance(session, UnitOfWork):
        RunWrites(session).discard_replay(conversation.id)
    else:
        await ReplayRepository(session).discard(conversation.id)
