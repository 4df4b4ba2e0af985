"""Summaries that replace old events in the prompt once a conversation no longer fits its model's context window."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel, UTCDateTime
from sqlmodel.ext.asyncio.session import AsyncSession


class Condensation(SQLModel, table=True):
    """One conversation's summary. It replaces all events up to (``run``, ``sequence``) in prompts, not in the log."""

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
        """Return the summary, or ``None`` if the history was never condensed."""
        return await self._session.get(Condensation, conversation_id)

    async def save(self, condensation: Condensation) -> None:
        """Insert the summary, or replace the earlier one."""
        await self._session.merge(condensation)
