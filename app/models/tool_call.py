"""The table of pending tool calls: the user's decision, and whether the tool was started."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKeyConstraint
from sqlmodel import Field, SQLModel, UTCDateTime
from sqlmodel.ext.asyncio.session import AsyncSession


class ToolCall(SQLModel, table=True):
    """State of one call, identified by its event's conversation and sequence.

    ``approved`` is null until the user decides; ``reason`` is what the agent is told about a rejection. ``begun_at`` is
    set before the tool runs. A call that was begun but has no result was interrupted, and may have had effects, so it
    is never retried automatically.
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
    """Persistence of tool calls in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, call: ToolCall) -> None:
        """Insert at the next flush."""
        self._session.add(call)

    async def get(self, conversation_id: UUID, sequence: int) -> ToolCall | None:
        """Return the call's state; ``None`` if it was neither decided about nor started."""
        return await self._session.get(ToolCall, (conversation_id, sequence))
