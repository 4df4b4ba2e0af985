"""Conversations: the row, and how an owner's rows are found, paged and changed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Index, Integer, String, Uuid, bindparam, func, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute, Mapped
from sqlmodel import Field, SQLModel, UTCDateTime, col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from app.errors import ErrorCode

TITLE_MAX_LENGTH = 200

# PostgreSQL would compare by the database's locale, which cursors must not depend on.
_FOLDED = String(TITLE_MAX_LENGTH * 3).with_variant(String(TITLE_MAX_LENGTH * 3, collation="C"), "postgresql")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something failed, paused or was stopped. ``message`` is for people and holds no secret."""

    code: ErrorCode
    message: str


class ConversationStatus(StrEnum):
    """Lifecycle of a conversation's runtime."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    ARCHIVED = "ARCHIVED"
    ERROR = "ERROR"


class AgentState(StrEnum):
    """What the agent inside a running conversation is doing."""

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
    """What made the conversation."""

    GUI = "GUI"
    API = "API"
    SUGGESTED_TASK = "SUGGESTED_TASK"
    RESOLVER = "RESOLVER"


LIVE_STATUSES = (ConversationStatus.STARTING, ConversationStatus.RUNNING)
"""What counts against the owner's limit of concurrent conversations."""

WAITING_STATES = (AgentState.AWAITING_USER_INPUT, AgentState.PAUSED, AgentState.FINISHED, AgentState.REJECTED)
"""States in which nothing happens until the user says something."""

IDLE_STATES = (*WAITING_STATES, AgentState.AWAITING_USER_CONFIRMATION)
"""States in which nothing happens until the user does something; the run of a call that waits is not over."""


class Conversation(SQLModel, table=True):
    """One conversation. Enumerations are stored by name, so that a row of a newer release is still readable.

    ``active_run`` is the run that may append to the log now; null while nothing runs. ``last_run`` is the highest run
    that was handed out; runs between the two are queued. ``run_attempts`` counts how often the active run was begun.
    """

    __table_args__ = (
        Index("ix_conversation_created", "owner_id", "created_at", "id"),
        Index("ix_conversation_updated", "owner_id", "updated_at", "id"),
        Index("ix_conversation_title", "owner_id", "title_folded", "id"),
        Index("ix_conversation_status_created", "owner_id", "status", "created_at", "id"),
        Index("ix_conversation_status_updated", "owner_id", "status", "updated_at", "id"),
        Index("ix_conversation_status_title", "owner_id", "status", "title_folded", "id"),
        Index("ix_conversation_trigger_created", "owner_id", "trigger", "created_at", "id"),
        Index("ix_conversation_trigger_updated", "owner_id", "trigger", "updated_at", "id"),
        Index("ix_conversation_trigger_title", "owner_id", "trigger", "title_folded", "id"),
        Index("ix_conversation_repository_created", "owner_id", "repository_id", "created_at", "id"),
        Index("ix_conversation_repository_updated", "owner_id", "repository_id", "updated_at", "id"),
        Index("ix_conversation_repository_title", "owner_id", "repository_id", "title_folded", "id"),
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
    llm_model: str | None = Field(default=None, max_length=200)
    prompt_tokens: int = Field(default=0)
    completion_tokens: int = Field(default=0)
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


def fold(text: str) -> str:
    """The form of a text in which upper and lower case compare equal, in every language."""
    return text.casefold()


class ConversationOrderField(StrEnum):
    """What a list of conversations is ordered by."""

    CREATED_AT = "CREATED_AT"
    UPDATED_AT = "UPDATED_AT"
    TITLE = "TITLE"


class OrderDirection(StrEnum):
    """Smallest or largest first."""

    ASC = "ASC"
    DESC = "DESC"


@dataclass(frozen=True, slots=True)
class ConversationOrder:
    """Sort key and direction; the id breaks ties."""

    field: ConversationOrderField = ConversationOrderField.CREATED_AT
    direction: OrderDirection = OrderDirection.DESC

    @property
    def column(self) -> InstrumentedAttribute[Any]:
        """The column of the sort key."""
        columns: dict[ConversationOrderField, Any] = {
            ConversationOrderField.CREATED_AT: Conversation.created_at,
            ConversationOrderField.UPDATED_AT: Conversation.updated_at,
            ConversationOrderField.TITLE: Conversation.title_folded,
        }
        return columns[self.field]


@dataclass(frozen=True, slots=True)
class ConversationFilter:
    """All that is given must hold. ``visible_after``: the age limit."""

    statuses: tuple[str, ...] | None = None
    triggers: tuple[str, ...] | None = None
    repository_id: UUID | None = None
    title_contains: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    updated_after: datetime | None = None
    updated_before: datetime | None = None
    visible_after: datetime | None = None

    def conditions(
        self, owner_id: str, order: ConversationOrder | None = None, *, is_continued: bool = False
    ) -> list[ColumnElement[bool]]:
        """The filter as SQL, the owner's rows only. ``is_continued``: for a page behind another one of ``order``."""
        return [
            col(Conversation.owner_id) == bindparam("owner_id", owner_id),
            *self._matches(),
            *self._times(order, is_continued=is_continued),
        ]

    def parameters(self) -> dict[str, object]:
        """The values that the conditions compare with, by the names of the parameters."""
        if self == _ALL:
            return {}
        values: dict[str, object] = {
            "repository_id": self.repository_id,
            "created_after": self.created_after,
            "created_before": self.created_before,
            "updated_after": self.updated_after,
            "updated_before": self.updated_before,
            "visible_after": self.visible_after,
        }
        if self.title_contains:
            values["title_contains"] = _pattern(self.title_contains)
        for name, given in (("status", self.statuses), ("trigger", self.triggers)):
            values.update({f"{name}_{number}": value for number, value in enumerate(given or ())})
        return {name: value for name, value in values.items() if value is not None}

    @property
    def shape(self) -> tuple[object, ...]:
        """What the conditions depend on, apart from the values."""
        given = tuple(sorted(self.parameters()))
        return (self.statuses is None, self.triggers is None, *given)

    def _matches(self) -> list[ColumnElement[bool]]:
        conditions: list[ColumnElement[bool]] = []
        if self.statuses is not None:
            conditions.append(_any_of(col(Conversation.status), "status", self.statuses))
        if self.triggers is not None:
            conditions.append(_any_of(col(Conversation.trigger), "trigger", self.triggers))
        if self.repository_id is not None:
            conditions.append(col(Conversation.repository_id) == bindparam("repository_id", self.repository_id))
        if self.title_contains:
            pattern: ColumnElement[str] = bindparam("title_contains", _pattern(self.title_contains))
            conditions.append(col(Conversation.title_folded).like(pattern, escape="/"))
        return conditions

    def _times(self, order: ConversationOrder | None, *, is_continued: bool) -> list[ColumnElement[bool]]:
        conditions: list[ColumnElement[bool]] = []
        created, updated = ConversationOrderField.CREATED_AT, ConversationOrderField.UPDATED_AT
        lower, upper = OrderDirection.ASC, OrderDirection.DESC

        def bound(field: ConversationOrderField, side: OrderDirection) -> Mapped[datetime] | ColumnElement[datetime]:
            column = col(Conversation.created_at if field is created else Conversation.updated_at)
            is_passed = is_continued and order == ConversationOrder(field, side)
            return _without_index(column) if is_passed else column

        if self.created_after is not None:
            conditions.append(bound(created, lower) > _moment("created_after", self.created_after))
        if self.created_before is not None:
            conditions.append(bound(created, upper) < _moment("created_before", self.created_before))
        if self.updated_after is not None:
            conditions.append(bound(updated, lower) > _moment("updated_after", self.updated_after))
        if self.updated_before is not None:
            conditions.append(bound(updated, upper) < _moment("updated_before", self.updated_before))
        if self.visible_after is not None:
            is_sorted = order is None or order.field is created
            visible = bound(created, lower) if is_sorted else _without_index(col(Conversation.created_at))
            conditions.append(visible >= _moment("visible_after", self.visible_after))
        return conditions


_ALL = ConversationFilter()


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: behind the row with this sort key and id."""

    key: datetime | str
    id: UUID


@dataclass(frozen=True, slots=True)
class ConversationQuery:
    """One page: at most ``first`` rows of the filter's, in order, behind ``after``."""

    first: int
    after: Position | None = None
    filter: ConversationFilter = field(default_factory=ConversationFilter)
    order: ConversationOrder = field(default_factory=ConversationOrder)


class ConversationRepository:
    """Conversations in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, conversation: Conversation) -> None:
        """Insert at the next flush."""
        self._session.add(conversation)

    async def get(self, owner_id: str, conversation_id: UUID) -> Conversation | None:
        """The owner's conversation, or ``None``."""
        return (await self.get_many(owner_id, [conversation_id]))[0]

    async def get_many(self, owner_id: str, ids: Sequence[UUID]) -> list[Conversation | None]:
        """In the order of ``ids``; ``None`` for what is absent or another owner's."""
        statement = select(Conversation).where(col(Conversation.owner_id) == owner_id, col(Conversation.id).in_(ids))
        found = {row.id: row for row in await self._session.exec(statement)}
        return [found.get(conversation_id) for conversation_id in ids]

    async def get_for_run(self, conversation_id: UUID) -> Conversation | None:
        """The conversation of a run, whoever owns it."""
        return await self._session.get(Conversation, conversation_id)

    async def lock(self, owner_id: str, conversation_id: UUID) -> Conversation | None:
        """The owner's conversation, unchanged by others until the transaction ends."""
        statement = (
            select(Conversation)
            .where(col(Conversation.owner_id) == owner_id, col(Conversation.id) == conversation_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        return (await self._session.exec(statement)).one_or_none()

    async def search(self, owner_id: str, query: ConversationQuery) -> list[Conversation]:
        """Up to ``first + 1`` rows: the one more tells that there is a next page. One statement."""
        return list(await self._session.exec(search_statement(select(Conversation), owner_id, query)))

    async def count(self, owner_id: str, wanted: ConversationFilter) -> int:
        """How many of the owner's conversations the filter lets through."""
        statement = select(func.count()).select_from(Conversation).where(*wanted.conditions(owner_id))
        return (await self._session.exec(statement)).one()

    async def live(self, owner_id: str, *, besides: UUID | None = None) -> list[Conversation]:
        """The owner's starting and running conversations, least recently updated first."""
        statement = (
            select(Conversation)
            .where(col(Conversation.owner_id) == owner_id, col(Conversation.status).in_(LIVE_STATUSES))
            .order_by(col(Conversation.updated_at), col(Conversation.id))
        )
        if besides is not None:
            statement = statement.where(col(Conversation.id) != besides)
        return list(await self._session.exec(statement))

    async def waiting_since(self, before: datetime, limit: int) -> list[Conversation]:
        """Running conversations of any owner that have waited for their user since before then, longest first."""
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
        """Conversations of any owner that have a run, by id."""
        statement = select(Conversation).where(col(Conversation.active_run).is_not(None))
        if after is not None:
            statement = statement.where(col(Conversation.id) > after)
        return list(await self._session.exec(statement.order_by(col(Conversation.id)).limit(limit)))

    async def retitle(
        self, conversation: Conversation, title: str, now: datetime, *, generated: bool, seen_revision: int | None
    ) -> bool:
        """Write a title. False when it has been written since ``seen_revision`` was read (``None``: write anyway)."""
        statement = (
            update(Conversation)
            .where(col(Conversation.owner_id) == conversation.owner_id, col(Conversation.id) == conversation.id)
            .values(
                title=title,
                title_folded=fold(title),
                title_is_auto_generated=generated,
                title_revision=Conversation.title_revision + 1,
                updated_at=now,
            )
            .execution_options(synchronize_session=False)
        )
        if seen_revision is not None:
            statement = statement.where(col(Conversation.title_revision) == seen_revision)
        return bool((await self._session.exec(statement)).rowcount)

    async def delete(self, conversation_id: UUID) -> None:
        """Delete the row; its events and replay go with it."""
        await self._session.exec(delete(Conversation).where(col(Conversation.id) == conversation_id))


def search_statement(selected: SelectOfScalar[Any], owner_id: str, query: ConversationQuery) -> SelectOfScalar[Any]:
    """The statement for a page; its parameters are named as ``search_parameters`` names them."""
    column, row_id = query.order.column, col(Conversation.id)
    conditions = query.filter.conditions(owner_id, query.order, is_continued=query.after is not None)
    statement = selected.where(*conditions)
    ascending = query.order.direction is OrderDirection.ASC
    if query.after is not None:
        here = tuple_(column, row_id)
        there = tuple_(
            bindparam("after_key", query.after.key, type_=column.type), bindparam("after_id", query.after.id, Uuid())
        )
        statement = statement.where(here > there if ascending else here < there)
    ordering = (column.asc(), row_id.asc()) if ascending else (column.desc(), row_id.desc())
    return statement.order_by(*ordering).limit(bindparam("limit", query.first + 1, Integer()))


def search_parameters(owner_id: str, query: ConversationQuery) -> dict[str, object]:
    """The values of the parameters of ``search_statement``."""
    parameters = {"owner_id": owner_id, "limit": query.first + 1, **query.filter.parameters()}
    if query.after is not None:
        parameters |= {"after_key": query.after.key, "after_id": query.after.id}
    return parameters


def _any_of(column: Mapped[str], name: str, values: tuple[str, ...]) -> ColumnElement[bool]:
    parameters: list[ColumnElement[str]] = [bindparam(f"{name}_{number}", value) for number, value in enumerate(values)]
    # One value is compared directly, so that the index also gives the order.
    return column == parameters[0] if len(values) == 1 else column.in_(parameters)


def _pattern(text: str) -> str:
    """What LIKE finds a text by, wherever it stands; ``/`` makes a wildcard an ordinary character."""
    escaped = re.sub("([/%_])", r"/\1", fold(text))
    return f"%{escaped}%"


def _moment(name: str, value: datetime) -> ColumnElement[datetime]:
    return bindparam(name, value, UTCDateTime())


def _without_index(column: Mapped[datetime]) -> ColumnElement[datetime]:
    """The column as no index has it.

    SQLite would start at the filter's bound rather than behind the page before, or sort everything that the age limit
    lets through: 900,000 instructions for a page of 100,000 conversations, in the place of 6,000.
    """
    return func.coalesce(column, column)
