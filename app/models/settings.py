"""A caller's settings: one row per owner. The API key is stored encrypted only."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlmodel import Field, SQLModel, UTCDateTime, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

DEFAULT_MAX_ITERATIONS = 100


class Settings(SQLModel, table=True):
    """What a caller chose for its conversations."""

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    owner_id: str = Field(foreign_key="owner.id", unique=True, max_length=200)
    llm_model: str = Field(max_length=200)
    llm_base_url: str | None = Field(default=None, max_length=2000)
    llm_api_key_encrypted: str | None = Field(default=None)
    max_iterations: int = Field(default=DEFAULT_MAX_ITERATIONS)
    max_budget_usd: float | None = Field(default=None)
    confirmation_mode: bool = Field(default=False)
    created_at: datetime = Field(sa_type=UTCDateTime)
    updated_at: datetime = Field(sa_type=UTCDateTime)


class SettingsRepository:
    """Settings in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, owner_id: str, *, lock: bool = False) -> Settings | None:
        """The owner's settings. ``lock``: until the transaction ends (SQLite's writer is alone anyway)."""
        statement = select(Settings).where(col(Settings.owner_id) == owner_id)
        if lock:
            statement = statement.with_for_update()
        return (await self._session.exec(statement)).one_or_none()

    async def get_many(self, owner_id: str, ids: list[UUID]) -> list[Settings | None]:
        """The owner's settings with these ids, in their order, ``None`` for what is not the owner's."""
        statement = select(Settings).where(col(Settings.owner_id) == owner_id, col(Settings.id).in_(ids))
        found = {settings.id: settings for settings in await self._session.exec(statement)}
        return [found.get(settings_id) for settings_id in ids]

    async def with_api_key(self, after: UUID | None, limit: int) -> list[Settings]:
        """All owners' settings that hold a key, by id: for rotating what encrypts them.

        Locked until the transaction ends, so that a key that is saved meanwhile is not overwritten by the one before.
        """
        statement = select(Settings).where(col(Settings.llm_api_key_encrypted).is_not(None))
        if after is not None:
            statement = statement.where(col(Settings.id) > after)
        statement = statement.order_by(col(Settings.id)).limit(limit).with_for_update()
        return list(await self._session.exec(statement))

    def add(self, settings: Settings) -> None:
        """Insert at the next flush."""
        self._session.add(settings)

    async def delete(self, settings: Settings) -> None:
        """Delete at the next flush."""
        await self._session.delete(settings)
