"""A trajectory that a conversation still has to play."""

from typing import Any
from uuid import UUID

from sqlalchemy import JSON, delete, update
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession


class Replay(SQLModel, table=True):
    """The checked events of a trajectory, how many of them have been played, and under which sequences."""

    conversation_id: UUID = Field(primary_key=True, foreign_key="conversation.id", ondelete="CASCADE")
    events: list[dict[str, Any]] = Field(sa_type=JSON)
    position: int = Field(default=0)
    tool_calls: dict[str, int] = Field(default_factory=dict, sa_type=JSON)


class ReplayRepository:
    """Replays in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, replay: Replay) -> None:
        """Insert at the next flush."""
        self._session.add(replay)

    async def is_pending(self, conversation_id: UUID) -> bool:
        """Whether the conversation still has something to play."""
        statement = select(Replay.position).where(col(Replay.conversation_id) == conversation_id)
        return (await self._session.exec(statement)).one_or_none() is not None

    async def get(self, conversation_id: UUID) -> Replay | None:
        """What the conversation still has to play."""
        return await self._session.get(Replay, conversation_id)

    async def progress(self, conversation_id: UUID) -> tuple[int, dict[str, int]] | None:
        """How many events were played, and under which sequences; ``None`` when there is nothing left."""
        statement = select(col(Replay.position), col(Replay.tool_calls)).where(
            col(Replay.conversation_id) == conversation_id
        )
        found = (await self._session.exec(statement)).one_or_none()
        return (found[0], dict(found[1])) if found is not None else None

    async def move(self, conversation_id: UUID, position: int, tool_calls: dict[str, int]) -> None:
        """Write down how far it is."""
        statement = update(Replay).where(col(Replay.conversation_id) == conversation_id)
        await self._session.exec(statement.values(position=position, tool_calls=tool_calls))

    async def discard(self, conversation_id: UUID) -> None:
        """Delete what is left, if anything is."""
        await self._session.exec(delete(Replay).where(col(Replay.conversation_id) == conversation_id))
