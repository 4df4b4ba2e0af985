"""The event log: append-only rows, numbered without a gap inside one conversation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, cast
from uuid import UUID

from pydantic import TypeAdapter
from pydantic_core import from_json
from sqlalchemy import JSON, BigInteger, ColumnElement, Index, Select, exists, literal, tuple_, union_all
from sqlalchemy import select as sa_select
from sqlalchemy.orm import aliased
from sqlmodel import Field, SQLModel, UTCDateTime, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode
from app.models.conversation import TOKENS, AgentState, Conversation, Problem
from app.models.database.record import Record
from app.models.database.row import Row
from app.models.database.unit_of_work import made


class EventSource(StrEnum):
    """Who caused an event."""

    USER = "USER"
    AGENT = "AGENT"
    ENVIRONMENT = "ENVIRONMENT"


class EventKind(StrEnum):
    """Which body an event has; the values are the GraphQL type names."""

    MESSAGE = "MessageEvent"
    TOOL_CALL = "ToolCallEvent"
    TOOL_RESULT = "ToolResultEvent"
    STATE_CHANGE = "StateChangeEvent"


class Event(SQLModel, table=True):
    """One entry of a conversation's log.

    ``run`` is the user message that caused it, as a number: events ordered by (run, sequence) are the dialogue, since
    a message that was queued while the agent still answered stands before that answer in the log. ``body`` is
    the JSON form of one of the ``…Body`` classes. Usage is that of the LLM call which made the event.
    """

    __table_args__ = (
        Index("ix_event_source", "conversation_id", "source", "sequence"),
        Index("ix_event_run", "conversation_id", "run", "sequence"),
    )

    conversation_id: UUID = Field(primary_key=True, foreign_key="conversation.id", ondelete="CASCADE")
    sequence: int = Field(primary_key=True, sa_type=BigInteger)
    run: int
    kind: str = Field(max_length=40)
    source: str = Field(max_length=40)
    body: dict[str, Any] = Field(sa_type=JSON)
    llm_model: str | None = Field(default=None, max_length=200)
    prompt_tokens: int | None = Field(default=None, sa_type=TOKENS)
    completion_tokens: int | None = Field(default=None, sa_type=TOKENS)
    cost_usd: float | None = Field(default=None)
    created_at: datetime = Field(sa_type=UTCDateTime)


@dataclass(frozen=True, slots=True)
class MessageBody:
    """What somebody said. Images are https or data URLs. ``is_partial``: the rest of the answer never came."""

    text: str
    image_urls: tuple[str, ...] = ()
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class ToolCallBody:
    """A tool the agent asks for. ``call_id`` is the LLM's own name of the call.

    ``is_cut``: the arguments broke off, so the call must not run. The provider wants ``call_fields`` back with the
    call, and ``answer_fields`` with the answer whose first call this is: reasoning and signatures, unchanged.
    """

    call_id: str
    tool_name: str
    arguments: Mapping[str, Any]
    thought: str | None = None
    is_cut: bool = False
    call_fields: Mapping[str, Any] | None = None
    answer_fields: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolResultBody:
    """What a tool answered. ``tool_call_sequence`` is the call's event."""

    tool_call_sequence: int
    output: str
    truncated: bool = False
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class StateChangeBody:
    """The agent's new state, and why, where there is something to say."""

    agent_state: AgentState
    problem: Problem | None = None


EventBody = MessageBody | ToolCallBody | ToolResultBody | StateChangeBody

_KINDS: dict[type[EventBody], EventKind] = {
    MessageBody: EventKind.MESSAGE,
    ToolCallBody: EventKind.TOOL_CALL,
    ToolResultBody: EventKind.TOOL_RESULT,
    StateChangeBody: EventKind.STATE_CHANGE,
}
_BODIES: dict[EventKind, TypeAdapter[Any]] = {kind: TypeAdapter(body) for body, kind in _KINDS.items()}
_TEXTS = frozenset({str})
_AGENT_STATES = frozenset(AgentState)
_ERROR_CODES = frozenset(ErrorCode)
# Whether JSON of a kind is a body for sure. What is not may still be one, and is looked at more closely.
_IS_PLAIN: dict[str, Callable[[Any], bool]] = {
    EventKind.MESSAGE.value: lambda body: (
        type(body["text"]) is str
        and type(body["image_urls"]) is list
        and _TEXTS.issuperset(map(type, body["image_urls"]))
        and type(body.get("is_partial", False)) is bool
    ),
    EventKind.TOOL_CALL.value: lambda body: (
        type(body["call_id"]) is type(body["tool_name"]) is str
        and type(body["arguments"]) is dict
        and (body["thought"] is None or type(body["thought"]) is str)
    ),
    EventKind.TOOL_RESULT.value: lambda body: (
        type(body["tool_call_sequence"]) is int
        and type(body["output"]) is str
        and type(body["truncated"]) is type(body["is_error"]) is bool
    ),
    EventKind.STATE_CHANGE.value: lambda body: (
        body["agent_state"] in _AGENT_STATES
        and (
            (problem := body["problem"]) is None
            or (problem["code"] in _ERROR_CODES and type(problem["message"]) is str)
        )
    ),
}


def kind_of(body: EventBody) -> EventKind:
    """The kind of event that has such a body."""
    return _KINDS[type(body)]


def encode_body(body: EventBody) -> dict[str, Any]:
    """The body as JSON."""
    return cast("dict[str, Any]", _BODIES[kind_of(body)].dump_python(body, mode="json"))


def decode_body(event: "Event | Record") -> EventBody | None:
    """The event's body; ``None`` when this release can't read it."""
    try:
        body: EventBody = _BODIES[EventKind(event.kind)].validate_python(event.body)
    except ValueError:
        return None
    return body


def read_bodies(kind: type[Record], rows: Sequence[Row]) -> list[Mapping[str, Any] | None]:
    """The fields of the bodies in rows of records of a kind; ``None`` for one that this release can't read."""
    kind_at, body_at = kind.columns["kind"], kind.columns["body"]
    found: list[Mapping[str, Any] | None]
    try:
        stored = ",".join([row[body_at] for row in rows])
        bodies = from_json(f"[{stored}]", allow_inf_nan=False, cache_strings="keys")
        found = [body if _IS_PLAIN[row[kind_at]](body) else None for row, body in zip(rows, bodies, strict=True)]
    except (ValueError, TypeError, KeyError):
        found = [None] * len(rows)
    return [body or _fields(decode_body(kind(row))) for row, body in zip(rows, found, strict=True)]


def _fields(body: EventBody | None) -> Mapping[str, Any] | None:
    if isinstance(body, StateChangeBody):
        return encode_body(body)
    # As they are, since what an agent gave as arguments may be no JSON that can be written.
    return {field.name: getattr(body, field.name) for field in fields(body)} if body is not None else None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one LLM call took; ``cost_usd`` is null when the model's price is unknown."""

    llm_model: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event before it has its sequence. ``created_at``: only for one that is played again."""

    source: EventSource
    body: EventBody
    usage: Usage | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventQuery:
    """One page of one log: ``limit`` events behind ``after``, or (``backward``) the last ones before ``before``."""

    conversation_id: UUID
    limit: int
    after: int | None = None
    before: int | None = None
    backward: bool = False
    sources: tuple[EventSource, ...] | None = None


def new_row(conversation_id: UUID, run: int, sequence: int, event: NewEvent, now: datetime) -> Event:
    """The row of an event, under a sequence that the conversation gave."""
    usage = event.usage
    values: dict[str, Any] = {
        "conversation_id": conversation_id,
        "sequence": sequence,
        "run": run,
        "kind": kind_of(event.body),
        "source": event.source,
        "body": encode_body(event.body),
        "llm_model": usage.llm_model if usage else None,
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
        "cost_usd": usage.cost_usd if usage else None,
        "created_at": event.created_at or now,
    }
    return made(Event, values)


class EventRepository:
    """Events in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, conversation_id: UUID, run: int, sequence: int, event: NewEvent, now: datetime) -> Event:
        """Insert at the next flush, under a sequence that the conversation gave."""
        row = new_row(conversation_id, run, sequence, event, now)
        self._session.add(row)
        return row

    async def is_of(self, conversation_id: UUID, sequence: int, run: int, event: NewEvent, now: datetime) -> bool:
        """Whether the log has there what ``add`` would insert for the run at that time."""
        found = await self._session.get(Event, (conversation_id, sequence))
        wanted = (run, kind_of(event.body), event.source, event.created_at or now)
        return found is not None and (found.run, found.kind, found.source, found.created_at) == wanted

    async def pages(self, owner_id: str, queries: Sequence[EventQuery]) -> list[list[Event]]:
        """A page for each query, oldest event first, with up to ``limit + 1`` events; in one statement.

        The one event more stands at the far end: it tells that there is another page.
        """
        pages: list[list[Event]] = [[] for _ in queries]
        # An empty list of sources allows no event.
        parts = [_page(owner_id, number, query) for number, query in enumerate(queries) if query.sources != ()]
        if not parts:
            return pages
        wanted = parts[0] if len(parts) == 1 else union_all(*parts)
        union = wanted.subquery()
        row = aliased(Event, union)
        number = cast("ColumnElement[int]", union.c.page)
        statement = select(row, number).order_by(number, union.c.sequence)
        for event, page in await self._session.exec(statement):
            pages[page].append(event)
        return pages

    async def after(self, conversation_id: UUID, sequence: int, limit: int) -> list[Event]:
        """Up to ``limit`` events behind a sequence, in order."""
        statement = (
            select(Event)
            .where(col(Event.conversation_id) == conversation_id, col(Event.sequence) > sequence)
            .order_by(col(Event.sequence))
            .limit(limit)
        )
        return list(await self._session.exec(statement))

    async def of_run(self, conversation_id: UUID, run: int) -> list[Event]:
        """A run's events without its state changes, in order. Bounded by the run's own iterations."""
        statement = (
            select(Event)
            .where(
                col(Event.conversation_id) == conversation_id,
                col(Event.run) == run,
                col(Event.kind) != EventKind.STATE_CHANGE,
            )
            .order_by(col(Event.sequence))
        )
        return list(await self._session.exec(statement))

    async def tool_calls(self, conversation_id: UUID) -> list[int]:
        """The sequences of all tool calls, in order."""
        statement = (
            select(Event.sequence)
            .where(col(Event.conversation_id) == conversation_id, col(Event.kind) == EventKind.TOOL_CALL)
            .order_by(col(Event.sequence))
        )
        return list(await self._session.exec(statement))

    async def user_messages(self, conversation_id: UUID, limit: int) -> list[Event]:
        """The first ``limit`` messages of the user."""
        statement = (
            select(Event)
            .where(
                col(Event.conversation_id) == conversation_id,
                col(Event.source) == EventSource.USER,
                col(Event.kind) == EventKind.MESSAGE,
            )
            .order_by(col(Event.sequence))
            .limit(limit)
        )
        return list(await self._session.exec(statement))

    async def get_many(self, owner_id: str, keys: Sequence[tuple[UUID, int]]) -> list[Event | None]:
        """In the order of ``keys`` (conversation id, sequence); ``None`` for what is absent or another owner's."""
        key = tuple_(col(Event.conversation_id), col(Event.sequence))
        statement = (
            select(Event)
            .join(Conversation, col(Conversation.id) == col(Event.conversation_id))
            .where(col(Conversation.owner_id) == owner_id, key.in_(list(keys)))
        )
        found = {(row.conversation_id, row.sequence): row for row in await self._session.exec(statement)}
        return [found.get(wanted) for wanted in keys]


def _page(owner_id: str, number: int, query: EventQuery) -> Select[Any]:
    # As a list of all that the owner has, SQLite would read 100,000 ids for a page of 50 events.
    owned = exists().where(col(Conversation.id) == query.conversation_id, col(Conversation.owner_id) == owner_id)
    table = SQLModel.metadata.tables["event"]
    columns: list[ColumnElement[Any]] = [*table.c, literal(number).label("page")]
    statement: Select[Any] = sa_select(*columns).where(table.c.conversation_id == query.conversation_id, owned)
    if query.after is not None:
        statement = statement.where(table.c.sequence > query.after)
    if query.before is not None:
        statement = statement.where(table.c.sequence < query.before)
    if query.sources is not None:
        statement = statement.where(table.c.source.in_(query.sources))
    ordering = table.c.sequence.desc() if query.backward else table.c.sequence.asc()
    limited = statement.order_by(ordering).limit(query.limit + 1).subquery()
    return sa_select(limited)
