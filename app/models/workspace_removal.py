"""The table of workspace directories that still have to be removed from disk, with retries."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlmodel import Field, SQLModel, UTCDateTime, col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession


class WorkspaceRemoval(SQLModel, table=True):
    """A deleted conversation's workspace, which may be in the data directory of any instance.

    No instance knows the others' directories, so on PostgreSQL the row stays after one of them has removed its part.
    ``attempts`` counts the failures of all instances. ``next_attempt_at`` is the time of the next retry. A row expires
    by that time, so it stays for as long as retries fail somewhere.
    """

    conversation_id: UUID = Field(primary_key=True)
    attempts: int = Field(default=0)
    next_attempt_at: datetime = Field(sa_type=UTCDateTime, index=True)


class WorkspaceRemovalRepository:
    """Persistence of pending removals in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, removal: WorkspaceRemoval) -> None:
        """Insert at the next flush."""
        self._session.add(removal)

    async def get(self, conversation_id: UUID) -> WorkspaceRemoval | None:
        """Return the row; ``None`` if no removal is pending."""
        return await self._session.get(WorkspaceRemoval, conversation_id)

    async def among(self, conversation_ids: Sequence[UUID]) -> Sequence[UUID]:
        """Return the subset of these conversations whose removal is pending."""
        statement = select(WorkspaceRemoval.conversation_id).where(
            col(WorkspaceRemoval.conversation_id).in_(conversation_ids)
        )
        return (await self._session.exec(statement)).all()

    async def delete(self, conversation_id: UUID) -> None:
        """Delete the row, since the workspace has been removed."""
        await self._session.exec(
            delete(WorkspaceRemoval).where(col(WorkspaceRemoval.conversation_id) == conversation_id)
        )

    async def delete_before(self, moment: datetime) -> None:
        """Delete rows whose next retry was due before this time, even if an instance has not come back since."""
        await self._session.exec(delete(WorkspaceRemoval).where(col(WorkspaceRemoval.next_attempt_at) < moment))
