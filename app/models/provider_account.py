"""The table of git provider accounts: a caller's token for a git host, stored only in encrypted form."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

from sqlmodel import Field, SQLModel, UniqueConstraint, UTCDateTime, col, select
from sqlmodel.ext.asyncio.session import AsyncSession


class ProviderType(StrEnum):
    """A git hosting product, which decides the API that is called."""

    GITHUB = "GITHUB"
    GITLAB = "GITLAB"
    BITBUCKET = "BITBUCKET"


class ProviderAccount(SQLModel, table=True):
    """At most one per owner and provider. ``host`` is null for the public host; it may end with ``:port``."""

    __table_args__ = (UniqueConstraint("owner_id", "provider"),)

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    owner_id: str = Field(foreign_key="owner.id", max_length=200)
    provider: str = Field(max_length=40)
    host: str | None = Field(default=None, max_length=260)
    login: str = Field(max_length=200)
    token_encrypted: str
    created_at: datetime = Field(sa_type=UTCDateTime)
    updated_at: datetime = Field(sa_type=UTCDateTime)


class ProviderAccountRepository:
    """Persistence of provider accounts in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, account: ProviderAccount) -> None:
        """Insert at the next flush."""
        self._session.add(account)

    async def get(self, owner_id: str, provider: ProviderType, *, lock: bool = False) -> ProviderAccount | None:
        """Return the owner's account at a provider, with ``lock`` holding a row lock until the transaction ends."""
        statement = select(ProviderAccount).where(
            col(ProviderAccount.owner_id) == owner_id, col(ProviderAccount.provider) == provider
        )
        if lock:
            statement = statement.with_for_update()
        return (await self._session.exec(statement)).one_or_none()

    async def get_many(self, owner_id: str, ids: Sequence[UUID]) -> list[ProviderAccount | None]:
        """Return the rows in the order of ``ids``, with ``None`` for those that are absent or another owner's."""
        statement = select(ProviderAccount).where(
            col(ProviderAccount.owner_id) == owner_id, col(ProviderAccount.id).in_(ids)
        )
        rows = {row.id: row for row in await self._session.exec(statement)}
        return [rows.get(account_id) for account_id in ids]

    async def search(self, owner_id: str) -> list[ProviderAccount]:
        """Return the owner's accounts, ordered by provider; there is at most one for each."""
        statement = (
            select(ProviderAccount)
            .where(col(ProviderAccount.owner_id) == owner_id)
            .order_by(col(ProviderAccount.provider))
        )
        return list(await self._session.exec(statement))

    async def after(self, account_id: UUID | None, limit: int) -> list[ProviderAccount]:
        """Return a batch of all owners' accounts after an id, with row locks, to rotate the encryption key."""
        statement = select(ProviderAccount)
        if account_id is not None:
            statement = statement.where(col(ProviderAccount.id) > account_id)
        statement = statement.order_by(col(ProviderAccount.id)).limit(limit).with_for_update()
        return list(await self._session.exec(statement))

    async def delete(self, account: ProviderAccount) -> None:
        """Delete at the next flush."""
        await self._session.delete(account)
