"""Workspaces that still have to be removed."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlmodel import Field, SQLModel, UTCDateTime, col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession


class WorkspaceRemoval(SQLModel, table=True):
    """A deleted conversation's workspace, which may be in the data directory of any instance.

    No instance knows the others' directories, so on PostgreSQL the record stays after one of them has removed its part.
    ``attempts`` counts failures of all instances. ``next_attempt_at`` is when it is, or was, tried again after the last
    one: the record's age is counted from there, so one that still fails somewhere stays.
    """

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

    async def among(self, conversation_ids: Sequence[UUID]) -> Sequence[UUID]:
        """Those of the conversations whose workspaces have to be removed wherever they are."""
        statement = select(WorkspaceRemoval.conversation_id).where(
            col(WorkspaceRemoval.conversation_id).in_(conversation_ids)
        )
        return (await self._session.exec(statement)).all()

    async def delete(self, conversation_id: UUID) -> None:
        """The workspace is gone."""
        await self._session.exec(
            delete(WorkspaceRemoval).where(col(WorkspaceRemoval.conversation_id) == conversation_id)
        )

    async def delete_before(self, moment: datetime) -> None:
        """Forget the records of that age, whichever instance has not come back since."""
        await self._session.exec(delete(WorkspaceRemoval).where(col(WorkspaceRemoval.next_attempt_at) < moment))
