"""The table of owners: the callers who own rows, each with a counter that orders its status changes."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Field, SQLModel, UTCDateTime, col, select
from sqlmodel.ext.asyncio.session import AsyncSession


class Owner(SQLModel, table=True):
    """One caller. Its row is also the lock that serialises changes to the caller's running conversations."""

    id: str = Field(primary_key=True, max_length=200)
    status_sequence: int = Field(default=0)
    created_at: datetime = Field(sa_type=UTCDateTime)


class OwnerRepository:
    """Persistence of owners in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def ensure(self, owner_id: str, now: datetime) -> None:
        """Insert the owner unless it exists; safe to run concurrently."""
        dialect = self._session.get_bind().dialect.name
        insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
        values = {"id": owner_id, "status_sequence": 0, "created_at": now}
        await self._session.exec(insert(Owner).values(values).on_conflict_do_nothing())

    async def lock(self, owner_id: str) -> None:
        """Lock the owner's row until the transaction ends, so that no other transaction changes the owner's statuses.

        Every transaction that may change a status takes this lock before it locks a conversation. The fixed order of
        locks prevents deadlocks.
        """
        await self._session.exec(select(Owner.id).where(col(Owner.id) == owner_id).with_for_update())

    async def lock_of(self, conversation_id: UUID) -> str | None:
        """Lock the owner of a conversation and return the owner's id; ``None`` if there is no such conversation."""
        # The table is looked up by name, since importing its model would be an import cycle.
        conversation = SQLModel.metadata.tables["conversation"]
        owner_id = select(conversation.c.owner_id).where(conversation.c.id == conversation_id).scalar_subquery()
        return (await self._session.exec(select(Owner.id).where(col(Owner.id) == owner_id).with_for_update())).first()

    async def next_status_sequence(self, owner_id: str) -> int:
        """Increment the owner's counter of status changes, and return the new value."""
        statement = (
            update(Owner)
            .where(col(Owner.id) == owner_id)
            .values(status_sequence=Owner.status_sequence + 1)
            .returning(col(Owner.status_sequence))
            .execution_options(synchronize_session=False)
        )
        # The session's pending rows are unrelated to this statement, and not all of them are complete yet.
        with self._session.no_autoflush:
            return (await self._session.exec(statement)).scalar_one()

    async def status_sequence(self, owner_id: str) -> int:
        """Return the sequence of the owner's last status change; 0 before the first."""
        statement = select(Owner.status_sequence).where(col(Owner.id) == owner_id)
        return (await self._session.exec(statement)).one_or_none() or 0
