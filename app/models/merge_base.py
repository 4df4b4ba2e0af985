"""The table of branches that are to be merged into the cloned one, for conversations about merge conflicts."""

from uuid import UUID

from sqlmodel import Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.git_repository import BRANCH_NAME_MAX_LENGTH


class MergeBase(SQLModel, table=True):
    """The base branch of the pull request that a conversation is about. Its repository may be that of the clone."""

    conversation_id: UUID = Field(foreign_key="conversation.id", ondelete="CASCADE", primary_key=True)
    repository_id: UUID = Field(foreign_key="gitrepository.id")
    branch_name: str = Field(max_length=BRANCH_NAME_MAX_LENGTH)


class MergeBaseRepository:
    """Persistence of base branches in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, conversation_id: UUID) -> MergeBase | None:
        """Return the conversation's base branch; ``None`` if it is not about a merge."""
        return await self._session.get(MergeBase, conversation_id)
