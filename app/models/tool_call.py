"""What became of tool calls before they have a result: what the user decided, and whether they were begun."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKeyConstraint
from sqlmodel import Field, SQLModel, UTCDateTime
from sqlmodel.ext.asyncio.session import AsyncSession


class ToolCall(SQLModel, table=True):
    """One call, named by its event.

    ``approved`` is null until the user decides; ``reason`` is what the agent is told where it was refused. ``begun_at``
    is set before the tool runs: a call that was begun and has no result was cut off, and may have been carried out in
    part, so it is never repeated by itself.
    """

    __table_args__ = (
        ForeignKeyConstraint(
            ["conversation_id", "sequence"], ["event.conversation_id", "event.sequence"], ondelete="CASCADE"
        ),
    )

    conversation_id: UUID = Field(primary_key=True)
    sequence: int = Field(primary_key=True, sa_type=BigInteger)
    approved: bool | None = Field(default=None)
    reason: str | None = Field(default=None, max_length=2000)
    decided_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    begun_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


class ToolCallRepository:
    """Tool calls in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, call: ToolCall) -> None:
        """Insert at the next flush."""
        self._session.add(call)

    async def get(self, conversation_id: UUID, sequence: int) -> ToolCall | None:
        """The call, if anything is known of it yet."""
        return await self._session.get(ToolCall, (conversation_id, sequence))
