"""Plays a trajectory: its events in order, without asking the LLM."""

from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.conversation import AgentState, Conversation
from app.models.database import Database
from app.models.event import EventRepository, StateChangeBody
from app.models.replay import Replay, ReplayRepository
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

    async def play_batch(self, run_log: RunLog) -> bool:
        """Play up to 100 events; tells whether there are more. Else the run is over.

        The log gets no states of this run's own, so that a trajectory that is played and exported again is the same;
        only one that did not end waiting for input gets that state. Raises RunEnded.
        """
        async with run_log.writing() as (session, conversation):
            replay = await ReplayRepository(session).get(conversation.id)
            if replay is None:
                await run_log.end(session, conversation)
                return False
            last_state = _play(session, conversation, replay, run_log)
            if replay.position < len(replay.events):
                return True
            await ReplayRepository(session).delete(replay)
            await run_log.end(session, conversation, is_logged=last_state is not AgentState.AWAITING_USER_INPUT)
            return False


def _play(session: AsyncSession, conversation: Conversation, replay: Replay, run_log: RunLog) -> AgentState | None:
    """Append the next batch; tells the state that its last event is."""
    now, last_state = run_log.now(), None
    tool_calls = {int(old): new for old, new in replay.tool_calls.items()}
    batch = replay.events[replay.position : replay.position + BATCH]
    for stored in batch:
        old_sequence, run, event = trajectory.play(stored, tool_calls)
        conversation.last_sequence += 1
        tool_calls[old_sequence] = conversation.last_sequence
        EventRepository(session).add(conversation.id, run, conversation.last_sequence, event, now)
        last_state = event.body.agent_state if isinstance(event.body, StateChangeBody) else None
    conversation.updated_at = now
    replay.position += len(batch)
    replay.tool_calls = {str(old): new for old, new in tool_calls.items()}
    return last_state
