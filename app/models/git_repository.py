"""Tables of git repositories and branches: a cache of what providers answered, with the time of the answer."""

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
    """A repository as one owner's token sees it. Access differs between owners, so each owner has rows of its own.

    ``host`` is the provider's host, such as ``github.com``; ``external_id`` is the provider's own id, which does not
    change when the repository is renamed. ``seen_at`` is when the provider last returned it.
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
    """A branch of an owner's repository. ``seen_at`` is when the provider last returned it."""

    __table_args__ = (UniqueConstraint("repository_id", "name"),)

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    repository_id: UUID = Field(foreign_key="gitrepository.id", ondelete="CASCADE")
    name: str = Field(max_length=BRANCH_NAME_MAX_LENGTH)
    commit_sha: str = Field(max_length=64)
    is_protected: bool
    seen_at: datetime = Field(sa_type=UTCDateTime)


class GitRepositoryRepository:
    """Persistence of git repositories and branches in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, row: GitRepository | GitBranch) -> None:
        """Insert at the next flush."""
        self._session.add(row)

    async def get_many(self, owner_id: str, ids: Sequence[UUID]) -> list[GitRepository | None]:
        """Return the rows in the order of ``ids``, with ``None`` for those that are absent or another owner's."""
        statement = select(GitRepository).where(col(GitRepository.owner_id) == owner_id, col(GitRepository.id).in_(ids))
        rows = {row.id: row for row in await self._session.exec(statement)}
        return [rows.get(repository_id) for repository_id in ids]

    async def save(self, seen: Sequence[GitRepository]) -> list[GitRepository]:
        """Upsert repositories of one owner and host, and return the stored rows in the order of ``seen``.

        It takes two statements, however many rows there are, and is safe to run concurrently.
        """
        if not seen:
            return []
        first = seen[0]
        keys = ("owner_id", "provider", "host", "external_id")
        # An upsert that names one row twice fails on PostgreSQL.
        unique = {row.external_id: row for row in seen}
        # All transactions insert in the same order, so that they can't deadlock.
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
        rows = {row.external_id: row for row in await self._session.exec(statement)}
        return [rows[row.external_id] for row in seen]

    async def save_branches(self, seen: Sequence[GitBranch]) -> list[GitBranch]:
        """Like ``save``, for branches, which may be of several repositories."""
        if not seen:
            return []
        unique = {(row.repository_id, row.name): row for row in seen}
        values = [unique[key].model_dump() for key in sorted(unique)]
        await self._session.exec(_upsert(self._session, GitBranch, values, ("repository_id", "name")))
        rows = await self.branches(list(unique))
        return [rows[row.repository_id, row.name] for row in seen]

    async def branches(self, keys: Sequence[tuple[UUID, str]]) -> dict[tuple[UUID, str], GitBranch]:
        """Return the branches that exist, by (repository id, name), without checking the owner."""
        key = tuple_(col(GitBranch.repository_id), col(GitBranch.name))
        statement = select(GitBranch).where(key.in_(list(keys))).execution_options(populate_existing=True)
        return {(row.repository_id, row.name): row for row in await self._session.exec(statement)}

    async def get_many_branches(self, owner_id: str, ids: Sequence[UUID]) -> list[GitBranch | None]:
        """Return the branches in the order of ``ids``, with ``None`` for those that are absent or another owner's."""
        statement = (
            select(GitBranch)
            .join(GitRepository, col(GitRepository.id) == col(GitBranch.repository_id))
            .where(col(GitRepository.owner_id) == owner_id, col(GitBranch.id).in_(ids))
        )
        rows = {row.id: row for row in await self._session.exec(statement)}
        return [rows.get(branch_id) for branch_id in ids]


def _upsert(
    session: AsyncSession, table: type[SQLModel], values: list[dict[str, Any]], keys: tuple[str, ...]
) -> UpdateBase:
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table).values(values)
    changed = {name: statement.excluded[name] for name in values[0] if name not in {"id", *keys}}
    return statement.on_conflict_do_update(index_elements=list(keys), set_=changed)
