"""Plays a trajectory: its events in order, without asking the LLM. A stop or a failure ends it for good."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.conversation import AgentState, Conversation
from app.models.database import Database
from app.models.event import EventRepository, StateChangeBody, ToolCallBody
from app.models.replay import ReplayRepository
from app.services import trajectory
from app.services.agent.run_log import RunLog

BATCH = 100


class ReplayPlayer:
    """Moves a conversation's stored trajectory into its log, a batch in each transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_pending(self, conversation_id: UUID) -> bool:
        """Whether there is something left to play."""
        async with self._database.read() as session:
            return await ReplayRepository(session).is_pending(conversation_id)

    async def play(self, run_log: RunLog) -> None:
        """Play what is left, 100 events in each transaction; then the run is over.

        The log gets no states of this run's own, so that a trajectory that is played and exported again is the same;
        only one that did not end waiting for input gets that state. Raises RunEnded.
        """
        async with self._database.read() as session:
            replay = await ReplayRepository(session).get(run_log.conversation_id)
        # Read once: a batch that read all of it, and all that was played, made the work grow with its square.
        events = replay.events if replay is not None else []
        while await _play_batch(run_log, events):
            pass


async def _play_batch(run_log: RunLog, events: Sequence[dict[str, Any]]) -> bool:
    """Play up to 100 events; tells whether there are more."""
    async with run_log.writing() as (session, conversation):
        repository = ReplayRepository(session)
        progress = await repository.progress(conversation.id)
        if progress is None:
            await run_log.end(session, conversation)
            return False
        position, sequences = progress
        batch = events[position : position + BATCH]
        tool_calls = {int(old): new for old, new in sequences.items()}
        last_state = _append(session, conversation, batch, tool_calls, run_log.now())
        position += len(batch)
        if position < len(events):
            await repository.move(conversation.id, position, {str(old): new for old, new in tool_calls.items()})
            return True
        await repository.discard(conversation.id)
        await run_log.end(session, conversation, is_logged=last_state is not AgentState.AWAITING_USER_INPUT)
        return False


def _append(
    session: AsyncSession,
    conversation: Conversation,
    batch: Sequence[dict[str, Any]],
    tool_calls: dict[int, int],
    now: datetime,
) -> AgentState | None:
    """Append the batch, and note the new sequences of its tool calls; tells the state that its last event is."""
    last_state = None
    for stored in batch:
        old_sequence, run, event = trajectory.play(stored, tool_calls)
        conversation.last_sequence += 1
        if isinstance(event.body, ToolCallBody):
            tool_calls[old_sequence] = conversation.last_sequence
        EventRepository(session).add(conversation.id, run, conversation.last_sequence, event, now)
        last_state = event.body.agent_state if isinstance(event.body, StateChangeBody) else None
    conversation.touch(now)
    return last_state
