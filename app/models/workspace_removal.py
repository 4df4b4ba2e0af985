"""Workspaces that still have to be removed."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlmodel import Field, SQLModel, UTCDateTime, col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession


class WorkspaceRemoval(SQLModel, table=True):
    """A deleted conversation's workspace. The record goes once the workspace is gone."""

    conversation_id: UUID = Field(primary_key=True)
    attempts: int = Field(default=0)
    next_attempt_at: datetime = Field(sa_type=UTCDateTime, index=True)


class WorkspaceRemovalRepository:
    """Pending removals in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, removal: WorkspaceRemoval) -> None:
        """Insert at the next flush."""
        self._session.add(removal)

    async def get(self, conversation_id: UUID) -> WorkspaceRemoval | None:
        """The record, if the workspace still has to be removed."""
        return await self._session.get(WorkspaceRemoval, conversation_id)

    async def due(self, now: datetime, limit: int) -> Sequence[WorkspaceRemoval]:
        """Up to ``limit`` removals whose time has come."""
        statement = (
            select(WorkspaceRemoval)
            .where(col(WorkspaceRemoval.next_attempt_at) <= now)
            .order_by(col(WorkspaceRemoval.next_attempt_at))
            .limit(limit)
        )
        return (await self._session.exec(statement)).all()

    async def delete(self, conversation_id: UUID) -> None:
        """The workspace is gone."""
        await self._session.exec(
            delete(WorkspaceRemoval).where(col(WorkspaceRemoval.conversation_id) == conversation_id)
        )
