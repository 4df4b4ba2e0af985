"""Plays a trajectory: its events in order, without asking the LLM. A stop or a failure ends it for good."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.conversation import AgentState, Conversation
from app.models.database.database import Database
from app.models.event import EventRepository, StateChangeBody, ToolCallBody
from app.models.replay import ReplayRepository
from app.services import trajectory
from app.services.agent.run_log import RunLog

BATCH = 100


class ReplayPlayer:
    """Moves a conversation's stored trajectory into its log, a batch in each transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def play(self, run_log: RunLog) -> None:
        """Play what is left, 100 events in each transaction; then the run is over.

        The log gets no states of this run's own, so that a trajectory that is played and exported again is the same;
        only one that did not end waiting for input gets that state. Raises RunEnded.
        """
        async with self._database.read() as session:
            events = await ReplayRepository(session).events(run_log.conversation_id)
        # Read once: a batch that read all of it, and all that was played, made the work grow with its square.
        playing = _Playing(run_log, events)
        while await playing.batch():
            pass


class _Playing:
    """One way through the events, which begins where the one before it was cut off."""

    def __init__(self, run_log: RunLog, events: Sequence[dict[str, Any]]) -> None:
        self._run_log = run_log
        self._events = events
        self._position: int | None = None
        self._tool_calls: dict[int, int] = {}

    async def batch(self) -> bool:
        """Play up to 100 events; tells whether there are more."""
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
        """See in the log under which sequences the calls were played: it has no others, in the trajectory's order."""
        played = await EventRepository(session).tool_calls(conversation.id)
        self._tool_calls = dict(zip(trajectory.tool_calls(self._events), played, strict=False))

    def _append(
        self, session: AsyncSession, conversation: Conversation, batch: Sequence[dict[str, Any]], now: datetime
    ) -> AgentState | None:
        """Append the batch, and note the new sequences of its tool calls; tells the state that its last event is."""
        last_state = None
        for stored in batch:
            old_sequence, run, event = trajectory.play(stored, self._tool_calls)
            conversation.last_sequence += 1
            if isinstance(event.body, ToolCallBody):
                self._tool_calls[old_sequence] = conversation.last_sequence
            EventRepository(session).add(conversation.id, run, conversation.last_sequence, event, now)
            last_state = event.body.agent_state if isinstance(event.body, StateChangeBody) else None
        conversation.touch(now)
        return last_state
