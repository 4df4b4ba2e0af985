"""The table of branches that were pushed for a conversation, each with the commit that was pushed last."""

from datetime import datetime
from uuid import UUID

from sqlmodel import Field, SQLModel, UTCDateTime, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.git_repository import BRANCH_NAME_MAX_LENGTH


class PushedBranch(SQLModel, table=True):
    """A branch at the git host, as this server pushed it last. Others may have pushed to it since."""

    conversation_id: UUID = Field(foreign_key="conversation.id", ondelete="CASCADE", primary_key=True)
    name: str = Field(max_length=BRANCH_NAME_MAX_LENGTH, primary_key=True)
    commit_sha: str = Field(max_length=64)
    pushed_at: datetime = Field(sa_type=UTCDateTime)


class PushedBranchRepository:
    """Persistence of pushed branches in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def save(self, pushed: PushedBranch) -> None:
        """Insert or replace the row of the conversation's branch of this name. The conversation has to be locked."""
        await self._session.merge(pushed)

    async def get(self, conversation_id: UUID, name: str | None = None) -> PushedBranch | None:
        """Return the branch of this name; ``None``: the one that was pushed last."""
        statement = select(PushedBranch).where(col(PushedBranch.conversation_id) == conversation_id)
        if name is not None:
            statement = statement.where(col(PushedBranch.name) == name)
        statement = statement.order_by(col(PushedBranch.pushed_at).desc(), col(PushedBranch.name)).limit(1)
        return (await self._session.exec(statement)).one_or_none()

    async def count(self, conversation_id: UUID, limit: int) -> int:
        """Return how many branches there are, at most ``limit``."""
        statement = select(PushedBranch.name).where(col(PushedBranch.conversation_id) == conversation_id).limit(limit)
        return len((await self._session.exec(statement)).all())

    async def delete_oldest(self, conversation_id: UUID) -> None:
        """Delete the branch that was pushed first."""
        statement = select(PushedBranch).where(col(PushedBranch.conversation_id) == conversation_id)
        statement = statement.order_by(col(PushedBranch.pushed_at), col(PushedBranch.name)).limit(1)
        oldest = (await self._session.exec(statement)).one_or_none()
        if oldest is not None:
            await self._session.delete(oldest)
