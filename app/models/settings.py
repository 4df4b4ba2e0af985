"""The table of callers' settings, one row per owner. The API key is stored only in encrypted form."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

from sqlmodel import Field, SQLModel, UTCDateTime, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

DEFAULT_MAX_ITERATIONS = 100


class PublishPolicy(StrEnum):
    """How far the agent may publish its work without asking the user. Each value allows what the one before allows."""

    ALWAYS_ASK = "ALWAYS_ASK"
    ALLOW_COMMITS = "ALLOW_COMMITS"
    ALLOW_PULL_REQUESTS = "ALLOW_PULL_REQUESTS"


class Settings(SQLModel, table=True):
    """One owner's settings, which apply to all its conversations."""

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    owner_id: str = Field(foreign_key="owner.id", unique=True, max_length=200)
    llm_model: str = Field(max_length=200)
    llm_base_url: str | None = Field(default=None, max_length=2000)
    llm_api_key_encrypted: str | None = Field(default=None)
    max_iterations: int = Field(default=DEFAULT_MAX_ITERATIONS)
    max_budget_usd: float | None = Field(default=None)
    confirmation_mode: bool = Field(default=False)
    git_author_name: str | None = Field(default=None, max_length=200)
    git_author_email: str | None = Field(default=None, max_length=254)
    publish_policy: str = Field(
        default=PublishPolicy.ALWAYS_ASK,
        max_length=40,
        sa_column_kwargs={"default": None, "server_default": PublishPolicy.ALWAYS_ASK.value},
    )
    created_at: datetime = Field(sa_type=UTCDateTime)
    updated_at: datetime = Field(sa_type=UTCDateTime)


def publish_policy(settings: Settings | None) -> PublishPolicy:
    """Return the owner's policy: ``ALWAYS_ASK`` without settings, and for a value that only a newer release knows."""
    stored = settings.publish_policy if settings is not None else PublishPolicy.ALWAYS_ASK
    return PublishPolicy.__members__.get(stored, PublishPolicy.ALWAYS_ASK)


class SettingsRepository:
    """Persistence of settings in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, owner_id: str, *, lock: bool = False) -> Settings | None:
        """Return the owner's settings. ``lock`` holds a row lock on PostgreSQL; on SQLite there is only one writer."""
        statement = select(Settings).where(col(Settings.owner_id) == owner_id)
        if lock:
            statement = statement.with_for_update()
        return (await self._session.exec(statement)).one_or_none()

    async def get_many(self, owner_id: str, ids: list[UUID]) -> list[Settings | None]:
        """Return the rows in the order of ``ids``, with ``None`` for those that are absent or another owner's."""
        statement = select(Settings).where(col(Settings.owner_id) == owner_id, col(Settings.id).in_(ids))
        rows = {row.id: row for row in await self._session.exec(statement)}
        return [rows.get(settings_id) for settings_id in ids]

    async def with_api_key(self, after: UUID | None, limit: int) -> list[Settings]:
        """Return a batch of all owners' settings with an API key, by id, for the rotation of the encryption key.

        The rows are locked until the transaction ends, so that the rotation can't overwrite a key saved meanwhile.
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
