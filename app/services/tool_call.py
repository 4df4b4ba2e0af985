"""The use case by which a user approves or rejects a tool call that awaits confirmation."""

from dataclasses import dataclass
from uuid import UUID

import structlog

from app.errors import InvalidInput, InvalidState, NotFound, conversation_not_found
from app.models.conversation import AgentState, Conversation, ConversationRepository
from app.models.database.database import Database
from app.models.event import EventKind, EventRepository
from app.models.owner import OwnerRepository
from app.models.tool_call import ToolCallRepository
from app.services.clock import Clock
from app.services.lifecycle import moves
from app.services.message import check_storable
from app.services.push.wakeups import Wakeups

REASON_MAX_LENGTH = 2000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RespondToToolCall:
    """A user's decision. If the call is rejected, the agent is told the ``reason``."""

    conversation_id: UUID
    sequence: int
    approved: bool
    reason: str | None = None


class ToolCallService:
    """Use cases of tool calls; only the conversation's owner may decide."""

    def __init__(self, database: Database, wakeups: Wakeups, clock: Clock) -> None:
        self._database = database
        self._wakeups = wakeups
        self._clock = clock

    async def respond(self, owner_id: str, command: RespondToToolCall) -> Conversation:
        """Store the decision, and let the run continue.

        Raises NotFound, InvalidInput, or InvalidState if the call does not await a decision (any more). Then nothing
        has changed.
        """
        reason = (command.reason or "").strip() or None
        if reason is not None and len(reason) > REASON_MAX_LENGTH:
            raise InvalidInput(f"A reason has at most {REASON_MAX_LENGTH} characters.", path=("reason",))
        check_storable(reason or "", "reason")
        now = self._clock()
        async with self._database.write() as session:
            await OwnerRepository(session).lock(owner_id)
            conversation = await ConversationRepository(session).lock(owner_id, command.conversation_id)
            if conversation is None:
                raise conversation_not_found("conversationId")
            key = (command.conversation_id, command.sequence)
            [event] = await EventRepository(session).get_many(owner_id, [key])
            if event is None or event.kind != EventKind.TOOL_CALL:
                raise tool_call_not_found()
            call = await ToolCallRepository(session).get(*key)
            is_asked = conversation.agent_state == AgentState.AWAITING_USER_CONFIRMATION
            if not is_asked or call is None or call.approved is not None or call.begun_at is not None:
                raise InvalidState("The tool call does not wait for an answer.", status=conversation.status)
            call.approved, call.reason, call.decided_at = command.approved, reason, now
            await moves.work(session, conversation, now, AgentState.RUNNING)
        log.info("tool_call.decided", conversation_id=str(conversation.id), approved=command.approved)
        moves.announce(self._wakeups, conversation)
        return conversation


def tool_call_not_found() -> NotFound:
    """Build the error for a tool call that is not in the conversation."""
    return NotFound("The tool call does not exist.", path=("toolCallId",))
