"""The event log: append-only rows, numbered without a gap inside one conversation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, cast
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import JSON, BigInteger, Index, tuple_
from sqlmodel import Field, SQLModel, UTCDateTime, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode
from app.models.conversation import TOKENS, AgentState, Conversation, Problem
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
_TEXTS = frozenset({str})
_AGENT_STATES = frozenset(AgentState)
_ERROR_CODES = frozenset(ErrorCode)


def _is_optional(body: Mapping[str, Any], name: str, expected: type) -> bool:
    return (value := body.get(name)) is None or type(value) is expected


# Whether a stored document is a body of its kind. Fields with a default are absent in rows of earlier releases.
_IS_BODY: dict[str, Callable[[Any], bool]] = {
    EventKind.MESSAGE.value: lambda body: (
        type(body["text"]) is str
        and type(body.get("image_urls", [])) is list
        and _TEXTS.issuperset(map(type, body.get("image_urls", ())))
        and type(body.get("is_partial", False)) is bool
    ),
    EventKind.TOOL_CALL.value: lambda body: (
        type(body["call_id"]) is type(body["tool_name"]) is str
        and type(body["arguments"]) is dict
        and _is_optional(body, "thought", str)
        and type(body.get("is_cut", False)) is bool
        and _is_optional(body, "call_fields", dict)
        and _is_optional(body, "answer_fields", dict)
    ),
    EventKind.TOOL_RESULT.value: lambda body: (
        type(body["tool_call_sequence"]) is int
        and type(body["output"]) is str
        and type(body.get("truncated", False)) is type(body.get("is_error", False)) is bool
    ),
    EventKind.STATE_CHANGE.value: lambda body: (
        body["agent_state"] in _AGENT_STATES
        and (
            (problem := body.get("problem")) is None
            or (problem["code"] in _ERROR_CODES and type(problem["message"]) is str)
        )
    ),
}
_MADE: dict[str, Callable[[Mapping[str, Any]], EventBody]] = {
    EventKind.MESSAGE.value: lambda body: MessageBody(
        body["text"], tuple(body.get("image_urls", ())), body.get("is_partial", False)
    ),
    EventKind.TOOL_CALL.value: lambda body: ToolCallBody(
        body["call_id"],
        body["tool_name"],
        body["arguments"],
        body.get("thought"),
        body.get("is_cut", False),
        body.get("call_fields"),
        body.get("answer_fields"),
    ),
    EventKind.TOOL_RESULT.value: lambda body: ToolResultBody(
        body["tool_call_sequence"], body["output"], body.get("truncated", False), body.get("is_error", False)
    ),
    EventKind.STATE_CHANGE.value: lambda body: StateChangeBody(
        AgentState(body["agent_state"]),
        Problem(ErrorCode(problem["code"]), problem["message"]) if (problem := body.get("problem")) else None,
    ),
}
_JSON: dict[type[EventBody], TypeAdapter[Any]] = {body: TypeAdapter(body) for body in _KINDS}


class StoredEvent(Protocol):
    """An event as an entity or as a typed row."""

    @property
    def kind(self) -> str:
        """The name of an ``EventKind``, or of one of a newer release."""
        ...

    @property
    def body(self) -> object:
        """The stored document."""
        ...


def kind_of(body: EventBody) -> EventKind:
    """The kind of event that has such a body."""
    return _KINDS[type(body)]


def encode_body(body: EventBody) -> dict[str, Any]:
    """The document that is stored of a body."""
    return cast("dict[str, Any]", _JSON[type(body)].dump_python(body, mode="json"))


def body_fields(kind: str, document: object) -> Mapping[str, Any] | None:
    """A stored document, whose optional fields may be absent; ``None`` when this release can't read it."""
    try:
        return cast("Mapping[str, Any]", document) if _IS_BODY[kind](document) else None
    except (KeyError, TypeError, AttributeError):
        return None


def decode_body(event: StoredEvent) -> EventBody | None:
    """The event's body; ``None`` when this release can't read it."""
    fields = body_fields(event.kind, event.body)
    return _MADE[event.kind](fields) if fields is not None else None


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

    @property
    def shape(self) -> tuple[object, ...]:
        """What its statement depends on, apart from the values."""
        sources = None if self.sources is None else len(self.sources)
        return (self.after is None, self.before is None, self.backward, sources)

    def parameters(self, number: int) -> dict[str, object]:
        """The values of its statement's parameters, whose names end with the query's number among several."""
        return {
            f"conversation_id_{number}": self.conversation_id,
            f"after_{number}": self.after,
            f"before_{number}": self.before,
            f"limit_{number}": self.limit + 1,
            **{f"source_{number}_{place}": source for place, source in enumerate(self.sources or ())},
        }


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
