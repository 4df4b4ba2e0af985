"""The caller as the database knows it: whose rows are whose, and the order of that owner's status changes."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Field, SQLModel, UTCDateTime, col, select
from sqlmodel.ext.asyncio.session import AsyncSession


class Owner(SQLModel, table=True):
    """One caller. Its row is also the lock that orders what changes the caller's set of running conversations."""

    id: str = Field(primary_key=True, max_length=200)
    status_sequence: int = Field(default=0)
    created_at: datetime = Field(sa_type=UTCDateTime)


class OwnerRepository:
    """Owners in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def ensure(self, owner_id: str, now: datetime) -> None:
        """Insert the owner unless it is there."""
        dialect = self._session.get_bind().dialect.name
        insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
        values = {"id": owner_id, "status_sequence": 0, "created_at": now}
        await self._session.exec(insert(Owner).values(values).on_conflict_do_nothing())

    async def lock(self, owner_id: str) -> None:
        """Let no other transaction change the owner's statuses until this one ends.

        Every transaction that may change a status takes this lock before it touches a conversation, so that two of
        them never wait for each other.
        """
        await self._session.exec(select(Owner.id).where(col(Owner.id) == owner_id).with_for_update())

    async def lock_of(self, conversation_id: UUID) -> str | None:
        """As ``lock``, for a conversation's owner: its id, ``None`` where there is no such conversation."""
        # By name: the table of conversations refers to this one.
        conversation = SQLModel.metadata.tables["conversation"]
        owner_id = select(conversation.c.owner_id).where(conversation.c.id == conversation_id).scalar_subquery()
        return (await self._session.exec(select(Owner.id).where(col(Owner.id) == owner_id).with_for_update())).first()

    async def next_status_sequence(self, owner_id: str) -> int:
        """Take the owner's next status sequence."""
        statement = (
            update(Owner)
            .where(col(Owner.id) == owner_id)
            .values(status_sequence=Owner.status_sequence + 1)
            .returning(col(Owner.status_sequence))
            .execution_options(synchronize_session=False)
        )
        # What waits to be written is about other rows, and some of it is yet to be changed.
        with self._session.no_autoflush:
            return (await self._session.exec(statement)).scalar_one()

    async def status_sequence(self, owner_id: str) -> int:
        """The sequence of the owner's last status change; 0 before the first."""
        statement = select(Owner.status_sequence).where(col(Owner.id) == owner_id)
        return (await self._session.exec(statement)).one_or_none() or 0
