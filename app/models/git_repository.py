"""Git repositories and branches as a provider last told of them, with the time when it did."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import UpdateBase
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

    async def save(self, seen: Sequence[GitRepository]) -> list[GitRepository]:
        """Insert what one provider's host told one owner of, or bring the rows up to date; the rows in that order.

        Two statements, however many rows. Who does the same at the same time does no harm.
        """
        if not seen:
            return []
        first = seen[0]
        keys = ("owner_id", "provider", "host", "external_id")
        # A statement must not touch one row twice.
        unique = {row.external_id: row for row in seen}
        # Everybody inserts in one order, so that two never wait for each other.
        values = [unique[key].model_dump() for key in sorted(unique)]
        await self._session.exec(_upsert(self._session, GitRepository, values, keys))
        statement = (
            select(GitRepository)
            .where(
                col(GitRepository.owner_id) == first.owner_id,
                col(GitRepository.provider) == first.provider,
                col(GitRepository.host) == first.host,
                col(GitRepository.external_id).in_(list(unique)),
            )
            .execution_options(populate_existing=True)
        )
        found = {row.external_id: row for row in await self._session.exec(statement)}
        return [found[row.external_id] for row in seen]

    async def save_branches(self, seen: Sequence[GitBranch]) -> list[GitBranch]:
        """As ``save``, for branches of any repositories."""
        if not seen:
            return []
        unique = {(row.repository_id, row.name): row for row in seen}
        values = [unique[key].model_dump() for key in sorted(unique)]
        await self._session.exec(_upsert(self._session, GitBranch, values, ("repository_id", "name")))
        found = await self.branches(list(unique))
        return [found[row.repository_id, row.name] for row in seen]

    async def branches(self, keys: Sequence[tuple[UUID, str]]) -> dict[tuple[UUID, str], GitBranch]:
        """Rows by repository and name."""
        key = tuple_(col(GitBranch.repository_id), col(GitBranch.name))
        statement = select(GitBranch).where(key.in_(list(keys))).execution_options(populate_existing=True)
        return {(row.repository_id, row.name): row for row in await self._session.exec(statement)}

    async def get_many_branches(self, owner_id: str, ids: Sequence[UUID]) -> list[GitBranch | None]:
        """In the order of ``ids``; ``None`` for what is absent or another owner's."""
        statement = (
            select(GitBranch)
            .join(GitRepository, col(GitRepository.id) == col(GitBranch.repository_id))
            .where(col(GitRepository.owner_id) == owner_id, col(GitBranch.id).in_(ids))
        )
        found = {row.id: row for row in await self._session.exec(statement)}
        return [found.get(branch_id) for branch_id in ids]


def _upsert(
    session: AsyncSession, table: type[SQLModel], values: list[dict[str, Any]], keys: tuple[str, ...]
) -> UpdateBase:
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table).values(values)
    changed = {name: statement.excluded[name] for name in values[0] if name not in {"id", *keys}}
    return statement.on_conflict_do_update(index_elements=list(keys), set_=changed)
