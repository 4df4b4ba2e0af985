"""Git repositories and branches as a provider last told of them, with the time when it did."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import tuple_
from sqlmodel import Field, SQLModel, UniqueConstraint, UTCDateTime, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

NAME_WITH_OWNER_MAX_LENGTH = 400
BRANCH_NAME_MAX_LENGTH = 255


class GitRepository(SQLModel, table=True):
    """A repository that an owner saw. What one owner may see says nothing about another, so rows are per owner.

    ``host`` is the host that was asked, such as ``github.com``; ``external_id`` is the provider's own id, which
    outlives a renaming. ``seen_at`` is when the provider last told of it.
    """

    __table_args__ = (UniqueConstraint("owner_id", "provider", "host", "external_id"),)

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    owner_id: str = Field(foreign_key="owner.id", max_length=200)
    provider: str = Field(max_length=40)
    host: str = Field(max_length=260)
    external_id: str = Field(max_length=200)
    name_with_owner: str = Field(max_length=NAME_WITH_OWNER_MAX_LENGTH)
    url: str = Field(max_length=2000)
    clone_url: str = Field(max_length=2000)
    is_private: bool
    default_branch_name: str | None = Field(default=None, max_length=BRANCH_NAME_MAX_LENGTH)
    seen_at: datetime = Field(sa_type=UTCDateTime)


class GitBranch(SQLModel, table=True):
    """A branch that an owner saw. ``seen_at`` is when the provider last told of it."""

    __table_args__ = (UniqueConstraint("repository_id", "name"),)

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    repository_id: UUID = Field(foreign_key="gitrepository.id", ondelete="CASCADE")
    name: str = Field(max_length=BRANCH_NAME_MAX_LENGTH)
    commit_sha: str = Field(max_length=64)
    is_protected: bool
    seen_at: datetime = Field(sa_type=UTCDateTime)


class GitRepositoryRepository:
    """Repositories and branches in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, row: GitRepository | GitBranch) -> None:
        """Insert at the next flush."""
        self._session.add(row)

    async def get_many(self, owner_id: str, ids: Sequence[UUID]) -> list[GitRepository | None]:
        """In the order of ``ids``; ``None`` for what is absent or another owner's."""
        statement = select(GitRepository).where(col(GitRepository.owner_id) == owner_id, col(GitRepository.id).in_(ids))
        found = {row.id: row for row in await self._session.exec(statement)}
        return [found.get(repository_id) for repository_id in ids]

    async def by_external_id(
        self, owner_id: str, keys: Sequence[tuple[str, str, str]]
    ) -> dict[tuple[str, str, str], GitRepository]:
        """The owner's rows by (provider, host, external id)."""
        key = tuple_(col(GitRepository.provider), col(GitRepository.host), col(GitRepository.external_id))
        statement = select(GitRepository).where(col(GitRepository.owner_id) == owner_id, key.in_(list(keys)))
        return {(row.provider, row.host, row.external_id): row for row in await self._session.exec(statement)}

    async def branches(self, repository_id: UUID, names: Sequence[str]) -> dict[str, GitBranch]:
        """A repository's rows by name."""
        statement = select(GitBranch).where(
            col(GitBranch.repository_id) == repository_id, col(GitBranch.name).in_(names)
        )
        return {row.name: row for row in await self._session.exec(statement)}

    async def get_many_branches(self, owner_id: str, ids: Sequence[UUID]) -> list[GitBranch | None]:
        """In the order of ``ids``; ``None`` for what is absent or another owner's."""
        statement = (
            select(GitBranch)
            .join(GitRepository, col(GitRepository.id) == col(GitBranch.repository_id))
            .where(col(GitRepository.owner_id) == owner_id, col(GitBranch.id).in_(ids))
        )
        found = {row.id: row for row in await self._session.exec(statement)}
        return [found.get(branch_id) for branch_id in ids]
