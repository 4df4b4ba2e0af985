"""The table of pull requests that were created for conversations, as their provider last told of them."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

from sqlmodel import Field, SQLModel, UniqueConstraint, UTCDateTime, col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.conversation import Conversation
from app.models.git_repository import BRANCH_NAME_MAX_LENGTH

PULL_REQUEST_TITLE_MAX_LENGTH = 1000


class PullRequestState(StrEnum):
    """The state of a pull request."""

    OPEN = "OPEN"
    CLOSED = "CLOSED"
    MERGED = "MERGED"


class PullRequest(SQLModel, table=True):
    """A pull request. ``number`` is the provider's; ``seen_at`` is when the provider last told of it."""

    __table_args__ = (UniqueConstraint("conversation_id", "repository_id", "number"),)

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    conversation_id: UUID = Field(foreign_key="conversation.id", ondelete="CASCADE")
    repository_id: UUID = Field(foreign_key="gitrepository.id")
    number: int
    url: str = Field(max_length=2000)
    state: str = Field(max_length=40)
    title: str = Field(max_length=PULL_REQUEST_TITLE_MAX_LENGTH)
    head_branch_name: str = Field(max_length=BRANCH_NAME_MAX_LENGTH)
    base_branch_name: str = Field(max_length=BRANCH_NAME_MAX_LENGTH)
    is_draft: bool
    created_at: datetime = Field(sa_type=UTCDateTime)
    seen_at: datetime = Field(sa_type=UTCDateTime)


class PullRequestRepository:
    """Persistence of pull requests in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, pull_request: PullRequest) -> None:
        """Insert at the next flush."""
        self._session.add(pull_request)

    async def get(self, conversation_id: UUID, repository_id: UUID, number: int) -> PullRequest | None:
        """Return the pull request with the provider's number."""
        statement = select(PullRequest).where(
            col(PullRequest.conversation_id) == conversation_id,
            col(PullRequest.repository_id) == repository_id,
            col(PullRequest.number) == number,
        )
        return (await self._session.exec(statement)).one_or_none()

    async def get_many(self, owner_id: str, ids: Sequence[UUID]) -> list[PullRequest | None]:
        """Return the rows in the order of ``ids``, with ``None`` for those that are absent or another owner's."""
        statement = (
            select(PullRequest)
            .join(Conversation, col(Conversation.id) == col(PullRequest.conversation_id))
            .where(col(Conversation.owner_id) == owner_id, col(PullRequest.id).in_(ids))
        )
        rows = {row.id: row for row in await self._session.exec(statement)}
        return [rows.get(pull_request_id) for pull_request_id in ids]

    async def search(self, owner_id: str, conversation_ids: Sequence[UUID]) -> list[PullRequest]:
        """Return the pull requests of an owner's conversations, newest first."""
        statement = (
            select(PullRequest)
            .join(Conversation, col(Conversation.id) == col(PullRequest.conversation_id))
            .where(col(Conversation.owner_id) == owner_id, col(PullRequest.conversation_id).in_(conversation_ids))
            .order_by(col(PullRequest.created_at).desc(), col(PullRequest.id))
        )
        return list(await self._session.exec(statement))

    async def update(self, rows: Sequence[PullRequest]) -> None:
        """Write what providers told of rows that were read in another session, without bringing deleted ones back."""
        for row in rows:
            changed = row.model_dump(exclude={"id", "conversation_id", "repository_id", "number", "created_at"})
            statement = update(PullRequest).where(col(PullRequest.id) == row.id).values(**changed)
            await self._session.exec(statement)
