"""The state machine of conversations and their runs: the only module that assigns status, agent state and run.

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

A run is the agent's work on one user message. ``receive`` starts a run if none is active, else it queues one: then
``end_run`` makes the next queued run active instead of waiting for input. ``organise`` tells subscribers of tags, pins
and the archive, and stops what is archived; ``receive`` and ``start`` bring it back from there.

Every move needs a locked conversation and runs inside a transaction; the caller calls ``announce`` after the commit.
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
from app.models.event import Event, EventSource, MessageBody, NewEvent, StateChangeBody, count_event, new_row
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
    """Lock owner and conversation, in this order, and return the current row; ``None`` if it was deleted."""
    if isinstance(session, UnitOfWork):
        return await RunWrites(session).lock(conversation.id, with_owner=True)
    await OwnerRepository(session).lock(conversation.owner_id)
    return await ConversationRepository(session).lock(conversation.owner_id, conversation.id)


async def lock_for_run(session: Writes, conversation_id: UUID) -> Conversation | None:
    """Like ``lock``, for callers that know only the conversation's id."""
    if isinstance(session, UnitOfWork):
        return await RunWrites(session).lock(conversation_id, with_owner=True)
    owner_id = await OwnerRepository(session).lock_of(conversation_id)
    return await ConversationRepository(session).lock(owner_id, conversation_id) if owner_id is not None else None


def announce(wakeups: Wakeups, *conversations: Conversation) -> None:
    """Publish the wake-ups after a commit: to followers of status and events, and to runs, which may be over."""
    for conversation in conversations:
        wakeups.publish(status_topic(conversation.owner_id))
        wakeups.publish(events_topic(conversation.id))
        wakeups.publish(run_topic(conversation.id))


async def create(
    session: Writes, conversation: Conversation, now: datetime, *, message: MessageBody | None, run: int = 1
) -> None:
    """Insert a new conversation with its first message, if any. ``run`` becomes the active run."""
    conversation.last_run = run
    begin_run(conversation, run)
    await _change_status(session, conversation, now, ConversationStatus.STARTING)
    session.add(conversation)
    if message is None:
        await session.flush()
        return
    # The event's foreign key needs the row first. Setting the sequence before the flush saves an UPDATE afterwards.
    event = NewEvent(EventSource.USER, message)
    sequence = count_event(conversation, event)
    await session.flush()
    session.add(new_row(conversation.id, run, sequence, event, now))


async def receive(session: Writes, conversation: Conversation, now: datetime, message: MessageBody) -> Event:
    """Append a user message, and start or queue the run that answers it. An archived conversation is brought back."""
    conversation.unarchive()
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
    """Start a run without a message: it prepares the runtime, then the agent waits for input. Raises InvalidState.

    An archived conversation is brought back.
    """
    check_start(conversation)
    conversation.unarchive()
    conversation.last_run += 1
    begin_run(conversation, conversation.last_run)
    await _change_status(session, conversation, now, ConversationStatus.STARTING)


async def stop(session: Writes, conversation: Conversation, now: datetime, problem: Problem | None = None) -> None:
    """Stop the conversation: after the commit its run can't append events, and a replay is dropped.

    Raises InvalidState.
    """
    if conversation.status not in LIVE_STATUSES:
        message = f"Only a starting or running conversation can be stopped; this one is {conversation.status}."
        raise InvalidState(message, status=conversation.status)
    await settle(session, conversation, now, ConversationStatus.STOPPED, None, problem)
    await _discard_replay(session, conversation)


def begin_run(conversation: Conversation, run: int) -> None:
    """Make a run the active one, with no attempts yet."""
    conversation.active_run = run
    conversation.run_attempts = 0


def begin_attempt(conversation: Conversation) -> int:
    """Count a new attempt at the active run, and return its number, which fences off writes of earlier attempts."""
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
    """Set the agent's state while its run is active. ``is_logged``: whether the change becomes an event."""
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
    """End the run, and make the next queued one active. If there is none, wait for input, or pause on a problem.

    ``is_logged``: whether the change of state becomes an event.
    """
    if problem is not None:
        # The budget starts again with the next user message.
        conversation.budget_from_usd = conversation.cost_usd
    if conversation.last_run > run:
        begin_run(conversation, run + 1)
        return
    state = AgentState.PAUSED if problem else AgentState.AWAITING_USER_INPUT
    await settle(session, conversation, now, ConversationStatus.RUNNING, state, problem, is_logged=is_logged)


async def fail(session: Writes, conversation: Conversation, now: datetime, problem: Problem) -> None:
    """End the run in ERROR, and drop queued runs and the rest of a replay."""
    await settle(session, conversation, now, ConversationStatus.ERROR, None, problem)
    # Otherwise the next message would run into the same fault again.
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
    """End the active run in any state. Other moves are built on it; only the demo data calls it directly."""
    await _change_status(session, conversation, now, status, agent_state, problem=problem, is_logged=is_logged)
    conversation.active_run = None


async def organise(session: Writes, conversation: Conversation, now: datetime) -> None:
    """Record a change of tags, pin or archive for subscribers. What was archived is stopped, if it is not."""
    if conversation.is_archived and conversation.status in LIVE_STATUSES:
        await stop(session, conversation, now)
        return
    conversation.status_sequence = await _next_status_sequence(session, conversation.owner_id)
    session.add(_change(conversation, now, conversation.status))


async def remove(session: AsyncSession, conversation: Conversation, now: datetime) -> None:
    """Delete the conversation with all dependent rows, and record the deletion for subscribers."""
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


# Agent states that the log shows for statuses in which the conversation has none.
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
    """Set status and agent state, record the change for subscribers, and log an event if the agent's state changed.

    Does nothing if nothing changes.
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
    session.add(_change(conversation, now, previous_status))
    state = agent_state or _LOGGED_STATES.get(status)
    if is_logged and state is not None and (state != previous_state or problem is not None):
        event = NewEvent(EventSource.ENVIRONMENT, StateChangeBody(state, problem))
        append(session, conversation, conversation.active_run or conversation.last_run, [event], now)


def _change(conversation: Conversation, now: datetime, previous_status: str | None) -> StatusChange:
    change: dict[str, Any] = {
        "owner_id": conversation.owner_id,
        "sequence": conversation.status_sequence,
        "conversation_id": conversation.id,
        "is_deletion": False,
        "previous_status": previous_status,
        "status": conversation.status,
        "agent_state": conversation.agent_state,
        "reason_code": conversation.reason_code,
        "reason_message": conversation.reason_message,
        "occurred_at": now,
    }
    return made(StatusChange, change)


async def _next_status_sequence(session: Writes, owner_id: str) -> int:
    if isinstance(session, UnitOfWork):
        return await RunWrites(session).next_status_sequence(owner_id)
    return await OwnerRepository(session).next_status_sequence(owner_id)


async def _discard_replay(session: Writes, conversation: Conversation) -> None:
    if isinstance(session, UnitOfWork):
        RunWrites(session).discard_replay(conversation.id)
    else:
        await ReplayRepository(session).discard(conversation.id)
