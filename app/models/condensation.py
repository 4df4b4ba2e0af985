"""What was said long ago, in short, for agents whose history outgrew their model."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel, UTCDateTime
from sqlmodel.ext.asyncio.session import AsyncSession


class Condensation(SQLModel, table=True):
    """A conversation's: ``summary`` stands for its events up to (``run``, ``sequence``), which stay in the log."""

    conversation_id: UUID = Field(primary_key=True, foreign_key="conversation.id", ondelete="CASCADE")
    run: int
    sequence: int = Field(sa_type=BigInteger)
    summary: str
    created_at: datetime = Field(sa_type=UTCDateTime)


class CondensationRepository:
    """Condensations in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, conversation_id: UUID) -> Condensation | None:
        """The conversation's, if its history was condensed."""
        return await self._session.get(Condensation, conversation_id)

    async def save(self, condensation: Condensation) -> None:
        """Put it in the place of an earlier one."""
        await self._session.merge(condensation)
