"""The table of conversations, its enumerations, and the repository that reads, locks and updates rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import cast
from uuid import UUID, uuid4

from sqlalchemy import JSON, BigInteger, ColumnElement, Index, Integer, String, column, false, func, true, update
from sqlmodel import Field, SQLModel, UTCDateTime, col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode

TITLE_MAX_LENGTH = 200

MAX_TOKENS = 2**53 - 1
"""Token counts saturate here, the largest integer that JavaScript clients read exactly."""

# SQLite's INTEGER has 64 bits, and changing the type of a column there copies the table.
TOKENS = cast("type[BigInteger]", BigInteger().with_variant(Integer, "sqlite"))
# Without the "C" collation PostgreSQL would compare by the database's locale, on which cursors must not depend.
_FOLDED = String(TITLE_MAX_LENGTH * 3).with_variant(String(TITLE_MAX_LENGTH * 3, collation="C"), "postgresql")

_IS_PINNED: ColumnElement[bool] = column("is_pinned") == true()


@dataclass(frozen=True, slots=True)
class Problem:
    """The reason of a failure, pause or stop. ``message`` is for people and holds no secret."""

    code: ErrorCode
    message: str


class ConversationStatus(StrEnum):
    """Lifecycle of a conversation's runtime."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    ERROR = "ERROR"


class AgentState(StrEnum):
    """The agent's activity in a running conversation."""

    LOADING = "LOADING"
    RUNNING = "RUNNING"
    AWAITING_USER_INPUT = "AWAITING_USER_INPUT"
    AWAITING_USER_CONFIRMATION = "AWAITING_USER_CONFIRMATION"
    PAUSED = "PAUSED"
    FINISHED = "FINISHED"
    REJECTED = "REJECTED"
    RATE_LIMITED = "RATE_LIMITED"
    ERROR = "ERROR"


class ConversationTrigger(StrEnum):
    """The origin of a conversation."""

    GUI = "GUI"
    API = "API"
    SUGGESTED_TASK = "SUGGESTED_TASK"
    RESOLVER = "RESOLVER"


LIVE_STATUSES = (ConversationStatus.STARTING, ConversationStatus.RUNNING)
"""Statuses that count against the owner's limit of concurrent conversations."""

WAITING_STATES = (AgentState.AWAITING_USER_INPUT, AgentState.PAUSED, AgentState.FINISHED, AgentState.REJECTED)
"""States in which nothing happens until the user says something."""

IDLE_STATES = (*WAITING_STATES, AgentState.AWAITING_USER_CONFIRMATION)
"""States in which nothing happens until the user acts. While a tool call awaits confirmation, its run is not over."""


class Conversation(SQLModel, table=True):
    """One conversation. Enumerations are stored by name, so that a row of a newer release is still readable.

    ``active_run`` is the run that may append to the log now; null while nothing runs. ``last_run`` is the highest run
    number that was assigned; runs between the two are queued. ``run_attempts`` counts how often the active run was
    begun. ``branch_is_default``: the user chose no branch, so ``branch_name`` comes from the provider until git has
    cloned the repository. ``tags`` are as they are shown, and sorted; ``ConversationTag`` has them for filters.
    ``is_archived`` says whether ``archived_at`` is set, since an index can order rows behind a flag only.
    ``last_message_sequence`` is that of the last message by the user or the agent; up to ``read_sequence`` the user has
    read. Both are written with ``last_sequence``, so they cost no statement.
    """

    __table_args__ = (
        Index("ix_conversation_created", "owner_id", "is_archived", "created_at", "id"),
        Index("ix_conversation_updated", "owner_id", "is_archived", "updated_at", "id"),
        Index("ix_conversation_title", "owner_id", "is_archived", "title_folded", "id"),
        Index("ix_conversation_status_created", "owner_id", "status", "is_archived", "created_at", "id"),
        Index("ix_conversation_status_updated", "owner_id", "status", "is_archived", "updated_at", "id"),
        Index("ix_conversation_status_title", "owner_id", "status", "is_archived", "title_folded", "id"),
        Index("ix_conversation_trigger_created", "owner_id", "trigger", "is_archived", "created_at", "id"),
        Index("ix_conversation_trigger_updated", "owner_id", "trigger", "is_archived", "updated_at", "id"),
        Index("ix_conversation_trigger_title", "owner_id", "trigger", "is_archived", "title_folded", "id"),
        Index("ix_conversation_repository_created", "owner_id", "repository_id", "is_archived", "created_at", "id"),
        Index("ix_conversation_repository_updated", "owner_id", "repository_id", "is_archived", "updated_at", "id"),
        Index("ix_conversation_repository_title", "owner_id", "repository_id", "is_archived", "title_folded", "id"),
        Index("ix_conversation_pinned", "owner_id", "id", sqlite_where=_IS_PINNED, postgresql_where=_IS_PINNED),
        Index("ix_conversation_active_run", "active_run", "id"),
        Index("ix_conversation_live", "status", "agent_state", "waiting_since"),
    )

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    owner_id: str = Field(foreign_key="owner.id", max_length=200)
    title: str = Field(max_length=TITLE_MAX_LENGTH)
    title_folded: str = Field(sa_type=_FOLDED)
    title_is_auto_generated: bool = Field(default=True)
    title_revision: int = Field(default=0)
    status: str = Field(max_length=40)
    agent_state: str | None = Field(default=None, max_length=40)
    reason_code: str | None = Field(default=None, max_length=80)
    reason_message: str | None = Field(default=None, max_length=1000)
    status_sequence: int = Field(default=0)
    trigger: str = Field(max_length=40)
    repository_id: UUID | None = Field(default=None, foreign_key="gitrepository.id")
    branch_name: str | None = Field(default=None, max_length=255)
    branch_is_default: bool = Field(default=False, sa_column_kwargs={"default": None, "server_default": false()})
    llm_model: str | None = Field(default=None, max_length=200)
    prompt_tokens: int = Field(default=0, sa_type=TOKENS)
    completion_tokens: int = Field(default=0, sa_type=TOKENS)
    cost_usd: float = Field(default=0.0)
    is_cost_known: bool = Field(default=True)
    budget_from_usd: float = Field(default=0.0)
    last_sequence: int = Field(default=0)
    last_run: int = Field(default=0)
    active_run: int | None = Field(default=None)
    run_attempts: int = Field(default=0)
    waiting_since: datetime | None = Field(default=None, sa_type=UTCDateTime)
    created_at: datetime = Field(sa_type=UTCDateTime)
    updated_at: datetime = Field(sa_type=UTCDateTime)
    tags: list[str] = Field(
        default_factory=list, sa_type=JSON, sa_column_kwargs={"default": None, "server_default": "[]"}
    )
    is_pinned: bool = Field(default=False, sa_column_kwargs={"default": None, "server_default": false()})
    is_archived: bool = Field(default=False, sa_column_kwargs={"default": None, "server_default": false()})
    archived_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    last_message_sequence: int | None = Field(default=None)
    read_sequence: int = Field(default=0, sa_column_kwargs={"default": None, "server_default": "0"})

    def archive(self, now: datetime) -> None:
        """Put the conversation away; the time stays if it is archived already."""
        if not self.is_archived:
            self.is_archived, self.archived_at = True, now

    def unarchive(self) -> None:
        """Bring the conversation back to the list."""
        self.is_archived, self.archived_at = False, None

    def touch(self, now: datetime) -> None:
        """Set ``updated_at``, but never to before ``created_at``: an instance's clock may lag behind another's."""
        self.updated_at = max(now, self.created_at)


def fold(text: str) -> str:
    """Fold case by Unicode's rules, for comparisons that neither SQLite nor every PostgreSQL locale does right."""
    return text.casefold()


class ConversationRepository:
    """Persistence of conversations in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, conversation: Conversation) -> None:
        """Insert at the next flush."""
        self._session.add(conversation)

    async def get(self, owner_id: str, conversation_id: UUID) -> Conversation | None:
        """Return the conversation, or ``None`` if it is absent or another owner's."""
        return (await self.get_many(owner_id, [conversation_id]))[0]

    async def get_many(self, owner_id: str, ids: Sequence[UUID]) -> list[Conversation | None]:
        """Return the rows in the order of ``ids``, with ``None`` for those that are absent or another owner's."""
        statement = select(Conversation).where(col(Conversation.owner_id) == owner_id, col(Conversation.id).in_(ids))
        rows = {row.id: row for row in await self._session.exec(statement)}
        return [rows.get(conversation_id) for conversation_id in ids]

    async def get_for_run(self, conversation_id: UUID) -> Conversation | None:
        """Return the conversation without checking its owner, for the engine, which acts for no caller."""
        return await self._session.get(Conversation, conversation_id)

    async def lock(self, owner_id: str, conversation_id: UUID) -> Conversation | None:
        """Read the owner's conversation with a row lock, which is held until the transaction ends."""
        statement = (
            select(Conversation)
            .where(col(Conversation.owner_id) == owner_id, col(Conversation.id) == conversation_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        return (await self._session.exec(statement)).one_or_none()

    async def lock_many(self, owner_id: str, ids: Sequence[UUID]) -> list[Conversation]:
        """Like ``lock``, for those of the conversations that are there, in the order of their ids."""
        statement = (
            select(Conversation)
            .where(col(Conversation.owner_id) == owner_id, col(Conversation.id).in_(ids))
            .order_by(col(Conversation.id))
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        return list(await self._session.exec(statement))

    async def count_pinned(self, owner_id: str) -> int:
        """Count the owner's pinned conversations."""
        is_pinned = col(Conversation.is_pinned) == true()
        counting = select(func.count()).select_from(Conversation)
        return (await self._session.exec(counting.where(col(Conversation.owner_id) == owner_id, is_pinned))).one()

    async def lock_for_run(self, conversation_id: UUID) -> Conversation | None:
        """Like ``lock``, without checking the owner."""
        statement = select(Conversation).where(col(Conversation.id) == conversation_id).with_for_update()
        return (await self._session.exec(statement.execution_options(populate_existing=True))).one_or_none()

    async def live(self, owner_id: str, *, besides: UUID | None = None) -> list[Conversation]:
        """Return the owner's starting and running conversations, least recently updated first."""
        statement = (
            select(Conversation)
            .where(col(Conversation.owner_id) == owner_id, col(Conversation.status).in_(LIVE_STATUSES))
            .order_by(col(Conversation.updated_at), col(Conversation.id))
        )
        if besides is not None:
            statement = statement.where(col(Conversation.id) != besides)
        return list(await self._session.exec(statement))

    async def waiting_since(self, before: datetime, limit: int) -> list[Conversation]:
        """Return conversations of any owner that have waited for their user since before then, longest wait first."""
        statement = (
            select(Conversation)
            .where(
                col(Conversation.status) == ConversationStatus.RUNNING,
                col(Conversation.agent_state).in_(IDLE_STATES),
                col(Conversation.waiting_since) < before,
            )
            .order_by(col(Conversation.waiting_since))
            .limit(limit)
        )
        return list(await self._session.exec(statement))

    async def with_active_run(self, after: UUID | None, limit: int) -> list[Conversation]:
        """Return a batch of conversations of any owner with an active run: those after the id ``after``, by id."""
        statement = select(Conversation).where(col(Conversation.active_run).is_not(None))
        if after is not None:
            statement = statement.where(col(Conversation.id) > after)
        return list(await self._session.exec(statement.order_by(col(Conversation.id)).limit(limit)))

    async def retitle(
        self, conversation: Conversation, title: str, now: datetime, *, generated: bool, seen_revision: int | None
    ) -> bool:
        """Write a title with optimistic locking: False if it was written since ``seen_revision`` (``None``: force)."""
        statement = (
            update(Conversation)
            .where(col(Conversation.owner_id) == conversation.owner_id, col(Conversation.id) == conversation.id)
            .values(
                title=title,
                title_folded=fold(title),
                title_is_auto_generated=generated,
                title_revision=Conversation.title_revision + 1,
                updated_at=max(now, conversation.created_at),
            )
            .execution_options(synchronize_session=False)
        )
        if seen_revision is not None:
            statement = statement.where(col(Conversation.title_revision) == seen_revision)
        return bool((await self._session.exec(statement)).rowcount)

    async def set_branch(self, conversation_id: UUID, branch_name: str | None) -> None:
        """Store the branch that git checked out; ``None`` if there is none."""
        statement = update(Conversation).where(col(Conversation.id) == conversation_id)
        await self._session.exec(statement.values(branch_name=branch_name))

    async def delete(self, conversation_id: UUID) -> None:
        """Delete the row. Foreign keys cascade, so events, replay and drafts are deleted too."""
        await self._session.exec(delete(Conversation).where(col(Conversation.id) == conversation_id))
