"""Tables of trajectories to replay: the recorded events, and how many of them have been played."""

from typing import Any
from uuid import UUID

from sqlalchemy import JSON, delete, update
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession


class Replay(SQLModel, table=True):
    """A trajectory's validated events. The row is never updated, since it may have tens of megabytes."""

    conversation_id: UUID = Field(primary_key=True, foreign_key="conversation.id", ondelete="CASCADE")
    events: list[dict[str, Any]] = Field(sa_type=JSON)


class ReplayProgress(SQLModel, table=True):
    """The number of events that have been played. The row is deleted when all have been."""

    conversation_id: UUID = Field(primary_key=True, foreign_key="conversation.id", ondelete="CASCADE")
    position: int = Field(default=0)


def new_replay(conversation_id: UUID, events: list[dict[str, Any]]) -> tuple[Replay, ReplayProgress]:
    """The rows of what a conversation has to play."""
    return Replay(conversation_id=conversation_id, events=events), ReplayProgress(conversation_id=conversation_id)


class ReplayRepository:
    """Persistence of replays in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, conversation_id: UUID, events: list[dict[str, Any]]) -> None:
        """Insert a trajectory and its progress at the next flush."""
        self._session.add_all(new_replay(conversation_id, events))

    async def events(self, conversation_id: UUID) -> list[dict[str, Any]]:
        """Return the whole trajectory, also the part that has been played; empty once the replay is over."""
        replay = await self._session.get(Replay, conversation_id)
        return replay.events if replay is not None else []

    async def position(self, conversation_id: UUID) -> int | None:
        """Return the number of played events; ``None`` if there is no replay or it is over."""
        statement = select(ReplayProgress.position).where(col(ReplayProgress.conversation_id) == conversation_id)
        return (await self._session.exec(statement)).one_or_none()

    async def move(self, conversation_id: UUID, position: int) -> None:
        """Store the number of played events."""
        statement = update(ReplayProgress).where(col(ReplayProgress.conversation_id) == conversation_id)
        await self._session.exec(statement.values(position=position))

    async def discard(self, conversation_id: UUID) -> None:
        """Delete the trajectory and its progress, if there are any."""
        await self._session.exec(delete(Replay).where(col(Replay.conversation_id) == conversation_id))
        await self._session.exec(delete(ReplayProgress).where(col(ReplayProgress.conversation_id) == conversation_id))
