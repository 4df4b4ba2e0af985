"""Git provider accounts: the token that a caller stored for a git host. It is stored encrypted only."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

from sqlmodel import Field, SQLModel, UniqueConstraint, UTCDateTime, col, select
from sqlmodel.ext.asyncio.session import AsyncSession


class ProviderType(StrEnum):
    """A kind of git host."""

    GITHUB = "GITHUB"
    GITLAB = "GITLAB"
    BITBUCKET = "BITBUCKET"


class ProviderAccount(SQLModel, table=True):
    """One per owner and provider. ``host`` is null for the provider's public host; it may end with ``:port``."""

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
    """Provider accounts in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, account: ProviderAccount) -> None:
        """Insert at the next flush."""
        self._session.add(account)

    async def get(self, owner_id: str, provider: ProviderType, *, lock: bool = False) -> ProviderAccount | None:
        """The owner's account at a provider. ``lock``: until the transaction ends."""
        statement = select(ProviderAccount).where(
            col(ProviderAccount.owner_id) == owner_id, col(ProviderAccount.provider) == provider
        )
        if lock:
            statement = statement.with_for_update()
        return (await self._session.exec(statement)).one_or_none()

    async def get_many(self, owner_id: str, ids: Sequence[UUID]) -> list[ProviderAccount | None]:
        """In the order of ``ids``; ``None`` for what is absent or another owner's."""
        statement = select(ProviderAccount).where(
            col(ProviderAccount.owner_id) == owner_id, col(ProviderAccount.id).in_(ids)
        )
        found = {row.id: row for row in await self._session.exec(statement)}
        return [found.get(account_id) for account_id in ids]

    async def search(self, owner_id: str) -> list[ProviderAccount]:
        """All of the owner's accounts, by provider; there is at most one for each."""
        statement = (
            select(ProviderAccount)
            .where(col(ProviderAccount.owner_id) == owner_id)
            .order_by(col(ProviderAccount.provider))
        )
        return list(await self._session.exec(statement))

    async def after(self, account_id: UUID | None, limit: int) -> list[ProviderAccount]:
        """All owners' accounts, by id: for rotating what encrypts the tokens. Locked until the transaction ends."""
        statement = select(ProviderAccount)
        if account_id is not None:
            statement = statement.where(col(ProviderAccount.id) > account_id)
        statement = statement.order_by(col(ProviderAccount.id)).limit(limit).with_for_update()
        return list(await self._session.exec(statement))

    async def delete(self, account: ProviderAccount) -> None:
        """Delete at the next flush."""
        await self._session.delete(account)
