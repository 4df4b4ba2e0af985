"""A trajectory that a conversation still has to play."""

from typing import Any
from uuid import UUID

from sqlalchemy import JSON, delete, update
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession


class Replay(SQLModel, table=True):
    """The checked events of a trajectory. The row is written once, since it may have tens of megabytes."""

    conversation_id: UUID = Field(primary_key=True, foreign_key="conversation.id", ondelete="CASCADE")
    events: list[dict[str, Any]] = Field(sa_type=JSON)


class ReplayProgress(SQLModel, table=True):
    """How many of a trajectory's events have been played; there is a row as long as there is something left."""

    conversation_id: UUID = Field(primary_key=True, foreign_key="conversation.id", ondelete="CASCADE")
    position: int = Field(default=0)


def new_replay(conversation_id: UUID, events: list[dict[str, Any]]) -> tuple[Replay, ReplayProgress]:
    """The rows of what a conversation has to play."""
    return Replay(conversation_id=conversation_id, events=events), ReplayProgress(conversation_id=conversation_id)


class ReplayRepository:
    """Replays in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, conversation_id: UUID, events: list[dict[str, Any]]) -> None:
        """Insert at the next flush what a conversation has to play."""
        self._session.add_all(new_replay(conversation_id, events))

    async def events(self, conversation_id: UUID) -> list[dict[str, Any]]:
        """All events of the trajectory; none once it has been played."""
        replay = await self._session.get(Replay, conversation_id)
        return replay.events if replay is not None else []

    async def position(self, conversation_id: UUID) -> int | None:
        """How many events were played; ``None`` when there is nothing left."""
        statement = select(ReplayProgress.position).where(col(ReplayProgress.conversation_id) == conversation_id)
        return (await self._session.exec(statement)).one_or_none()

    async def move(self, conversation_id: UUID, position: int) -> None:
        """Write down how far it is."""
        statement = update(ReplayProgress).where(col(ReplayProgress.conversation_id) == conversation_id)
        await self._session.exec(statement.values(position=position))

    async def discard(self, conversation_id: UUID) -> None:
        """Delete what is left, if anything is."""
        await self._session.exec(delete(Replay).where(col(Replay.conversation_id) == conversation_id))
        await self._session.exec(delete(ReplayProgress).where(col(ReplayProgress.conversation_id) == conversation_id))
