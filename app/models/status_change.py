"""The table of status changes, a log that subscriptions read, in each owner's order."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index
from sqlmodel import Field, SQLModel, UTCDateTime, col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession


class StatusChange(SQLModel, table=True):
    """A change of ``status`` or ``agent_state``, or a deletion. It is kept for as long as a subscriber may lag."""

    __table_args__ = (Index("ix_statuschange_occurred", "occurred_at"),)

    owner_id: str = Field(primary_key=True, max_length=200)
    sequence: int = Field(primary_key=True, sa_type=BigInteger)
    conversation_id: UUID
    is_deletion: bool = Field(default=False)
    previous_status: str | None = Field(default=None, max_length=40)
    status: str = Field(max_length=40)
    agent_state: str | None = Field(default=None, max_length=40)
    reason_code: str | None = Field(default=None, max_length=80)
    reason_message: str | None = Field(default=None, max_length=1000)
    occurred_at: datetime = Field(sa_type=UTCDateTime)


class StatusChangeRepository:
    """Persistence of status changes in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, change: StatusChange) -> None:
        """Insert at the next flush."""
        self._session.add(change)

    async def after(self, owner_id: str, sequence: int, limit: int) -> Sequence[StatusChange]:
        """Return up to ``limit`` of the owner's changes after a sequence, in order."""
        statement = (
            select(StatusChange)
            .where(col(StatusChange.owner_id) == owner_id, col(StatusChange.sequence) > sequence)
            .order_by(col(StatusChange.sequence))
            .limit(limit)
        )
        return (await self._session.exec(statement)).all()

    async def delete_before(self, moment: datetime) -> None:
        """Delete all owners' changes before this time, which no subscriber can still need."""
        await self._session.exec(delete(StatusChange).where(col(StatusChange.occurred_at) < moment))
