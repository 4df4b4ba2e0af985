"""The limit on an owner's running conversations: when it is reached, the longest idle one is stopped."""

from datetime import datetime
from uuid import UUID

from app.errors import ErrorCode, TooManyRunning
from app.models.conversation import (
    WAITING_STATES,
    Conversation,
    ConversationRepository,
    Problem,
)
from app.models.database.unit_of_work import UnitOfWork, Writes
from app.models.run_writes import RunWrites
from app.services.lifecycle import moves


async def make_room(
    session: Writes, owner_id: str, limit: int, now: datetime, *, besides: UUID | None = None
) -> list[Conversation]:
    """Stop waiting conversations, least recently updated first, until one more may run; return the stopped ones.

    The caller must hold the owner's lock. A conversation whose agent works is never stopped: if there are no others,
    TooManyRunning is raised, and nothing changes.
    """
    live = await _live(session, owner_id, limit, besides)
    surplus = len(live) - limit + 1
    if surplus <= 0:
        return []
    waiting = [row for row in live if row.agent_state in WAITING_STATES and row.active_run is None]
    if len(waiting) < surplus:
        message = f"{len(live)} conversations are running, and the limit is {limit}. Stop one, or wait for one."
        raise TooManyRunning(message, limit=limit)
    stopped: list[Conversation] = []
    for candidate in waiting[:surplus]:
        conversation = await moves.lock(session, candidate)
        if conversation is not None:
            reason = Problem(ErrorCode.MADE_ROOM, "Stopped while waiting for input, to make room for another one.")
            await moves.stop(session, conversation, now, reason)
            stopped.append(conversation)
    return stopped


async def _live(session: Writes, owner_id: str, limit: int, besides: UUID | None) -> list[Conversation]:
    """Return the owner's live conversations but ``besides``; an empty list if the limit allows one more."""
    if not isinstance(session, UnitOfWork):
        return await ConversationRepository(session).live(owner_id, besides=besides)
    writes = RunWrites(session)
    if await writes.count_live(owner_id) < limit:
        return []
    return [conversation for conversation in await writes.live(owner_id) if conversation.id != besides]
