"""The table of idempotency keys: a mutation that is repeated with the same key returns the first result again."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index
from sqlmodel import Field, SQLModel, UTCDateTime, col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

KEY_MAX_LENGTH = 200


class IdempotencyKey(SQLModel, table=True):
    """A key and its first result: the conversation's id, and for a sent message also the event's sequence.

    For a pull request its number takes the sequence's place. Of a commit and a pushed branch, ``result`` is the JSON.
    """

    __table_args__ = (Index("ix_idempotencykey_created", "created_at"),)

    owner_id: str = Field(primary_key=True, max_length=200)
    operation: str = Field(primary_key=True, max_length=100)
    key: str = Field(primary_key=True, max_length=KEY_MAX_LENGTH)
    conversation_id: UUID
    event_sequence: int | None = Field(default=None)
    result: str | None = Field(default=None)
    created_at: datetime = Field(sa_type=UTCDateTime)


class IdempotencyKeyRepository:
    """Persistence of idempotency keys in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, owner_id: str, operation: str, key: str, since: datetime) -> IdempotencyKey | None:
        """Return the first result under this key, unless it is older than ``since``."""
        statement = select(IdempotencyKey).where(
            col(IdempotencyKey.owner_id) == owner_id,
            col(IdempotencyKey.operation) == operation,
            col(IdempotencyKey.key) == key,
            col(IdempotencyKey.created_at) >= since,
        )
        return (await self._session.exec(statement)).one_or_none()

    async def delete_before(self, moment: datetime) -> None:
        """Delete all owners' keys that were stored before this time."""
        await self._session.exec(delete(IdempotencyKey).where(col(IdempotencyKey.created_at) < moment))
