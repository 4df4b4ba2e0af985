"""Replays a trajectory: appends its events to the log in order, without an LLM. A stop or failure ends it for good."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.conversation import AgentState, Conversation
from app.models.database.database import Database
from app.models.event import EventRepository, StateChangeBody, ToolCallBody, count_event
from app.models.replay import ReplayRepository
from app.services import trajectory
from app.services.agent.run_log import RunLog

BATCH = 100


class ReplayPlayer:
    """Moves a conversation's stored trajectory into its log, a batch in each transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def play(self, run_log: RunLog) -> None:
        """Append the remaining events, 100 in each transaction, and end the run. Raises RunEnded.

        The run appends no state changes of its own, so that exporting the conversation gives the same trajectory. There
        is one exception: if the trajectory does not end with AWAITING_USER_INPUT, that state is appended.
        """
        async with self._database.read() as session:
            events = await ReplayRepository(session).events(run_log.conversation_id)
        # Read once for all batches: reading it again for each would take quadratic time.
        playing = _Playing(run_log, events)
        while await playing.batch():
            pass


class _Playing:
    """One attempt at the replay, which continues where an earlier attempt was interrupted."""

    def __init__(self, run_log: RunLog, events: Sequence[dict[str, Any]]) -> None:
        self._run_log = run_log
        self._events = events
        self._position: int | None = None
        self._tool_calls: dict[int, int] = {}

    async def batch(self) -> bool:
        """Append up to 100 events in one transaction. Returns whether there are more."""
        async with self._run_log.writing() as (session, conversation):
            repository = ReplayRepository(session)
            position = await repository.position(conversation.id)
            if position is None:
                await self._run_log.end(session, conversation)
                return False
            if position != self._position:
                await self._find_tool_calls(session, conversation)
            batch = self._events[position : position + BATCH]
            last_state = self._append(session, conversation, batch, self._run_log.now())
            self._position = position + len(batch)
            if self._position < len(self._events):
                await repository.move(conversation.id, self._position)
                return True
            await repository.discard(conversation.id)
            is_logged = last_state is not AgentState.AWAITING_USER_INPUT
            await self._run_log.end(session, conversation, is_logged=is_logged)
            return False

    async def _find_tool_calls(self, session: AsyncSession, conversation: Conversation) -> None:
        """Read the sequences of the calls appended so far: they are all calls of the log, in the same order."""
        played = await EventRepository(session).tool_calls(conversation.id)
        self._tool_calls = dict(zip(trajectory.tool_calls(self._events), played, strict=False))

    def _append(
        self, session: AsyncSession, conversation: Conversation, batch: Sequence[dict[str, Any]], now: datetime
    ) -> AgentState | None:
        """Append the batch, record the new sequences of its tool calls, and return the last agent state in it."""
        last_state = None
        for stored in batch:
            old_sequence, run, event = trajectory.play(stored, self._tool_calls)
            sequence = count_event(conversation, event)
            if isinstance(event.body, ToolCallBody):
                self._tool_calls[old_sequence] = sequence
            EventRepository(session).add(conversation.id, run, sequence, event, now)
            last_state = event.body.agent_state if isinstance(event.body, StateChangeBody) else None
        conversation.touch(now)
        return last_state
