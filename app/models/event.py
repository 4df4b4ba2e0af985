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
    """The party that caused an event."""

    USER = "USER"
    AGENT = "AGENT"
    ENVIRONMENT = "ENVIRONMENT"


class EventKind(StrEnum):
    """The type of an event's body; the values are the GraphQL type names."""

    MESSAGE = "MessageEvent"
    TOOL_CALL = "ToolCallEvent"
    TOOL_RESULT = "ToolResultEvent"
    STATE_CHANGE = "StateChangeEvent"


class Event(SQLModel, table=True):
    """One entry of a conversation's log.

    ``run`` numbers the user message that caused the event. The dialogue is ordered by (run, sequence), not by sequence
    alone: a message that was queued while the agent answered has a lower sequence than that answer. ``body`` is the
    JSON form of one of the ``…Body`` classes. Model, tokens and cost are those of the LLM call that made the event.
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
class Attachment:
    """A file that a message names. ``digest`` is its SHA-256; empty if the file itself is not stored here.

    ``path`` is that in the workspace when the message was sent; names and paths are quoted as git does it.
    """

    name: str
    media_type: str
    size: int
    digest: str
    path: str


@dataclass(frozen=True, slots=True)
class MessageBody:
    """A message's text and images (https or data URLs). ``is_partial``: the answer was cut off while it streamed."""

    text: str
    image_urls: tuple[str, ...] = ()
    is_partial: bool = False
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCallBody:
    """A tool call. ``call_id`` is the id that the LLM gave it.

    ``is_cut``: the arguments are incomplete, so the call must not run. ``call_fields`` and ``answer_fields`` hold
    reasoning and signatures that some providers need back unchanged in the next request: with this call, or with the
    answer whose first call this is.
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
    """A tool's output. ``tool_call_sequence`` is the sequence of the call's event."""

    tool_call_sequence: int
    output: str
    truncated: bool = False
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class StateChangeBody:
    """The agent's new state, with a reason if it failed or was stopped."""

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
_ATTACHMENT_TEXTS = ("name", "media_type", "digest", "path")
_AGENT_STATES = frozenset(AgentState)
_ERROR_CODES = frozenset(ErrorCode)


def _is_optional(body: Mapping[str, Any], name: str, expected: type) -> bool:
    return (value := body.get(name)) is None or type(value) is expected


def _is_attachment(stored: Mapping[str, Any]) -> bool:
    return type(stored["size"]) is int and all(isinstance(stored[name], str) for name in _ATTACHMENT_TEXTS)


# Checks that a stored document is a body of an event type. Rows of earlier releases lack fields that have a default.
_IS_BODY: dict[str, Callable[[Any], bool]] = {
    EventKind.MESSAGE.value: lambda body: (
        type(body["text"]) is str
        and type(body.get("image_urls", [])) is list
        and _TEXTS.issuperset(map(type, body.get("image_urls", ())))
        and type(body.get("is_partial", False)) is bool
        and all(map(_is_attachment, body.get("attachments", ())))
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
        body["text"],
        tuple(body.get("image_urls", ())),
        body.get("is_partial", False),
        tuple(Attachment(**each) for each in body.get("attachments", ())),
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
    """Return the event type that belongs to the body's class."""
    return _KINDS[type(body)]


def encode_body(body: EventBody) -> dict[str, Any]:
    """Serialise the body to JSON values, as the column stores it."""
    return cast("dict[str, Any]", _JSON[type(body)].dump_python(body, mode="json"))


def body_fields(kind: str, document: object) -> Mapping[str, Any] | None:
    """Validate a stored body, whose optional fields may be absent; ``None`` if this release can't read it."""
    try:
        return cast("Mapping[str, Any]", document) if _IS_BODY[kind](document) else None
    except (KeyError, TypeError, AttributeError):
        return None


def decode_body(event: StoredEvent) -> EventBody | None:
    """Parse the event's body; ``None`` if it is malformed, or of a type that only a newer release knows."""
    fields = body_fields(event.kind, event.body)
    return _MADE[event.kind](fields) if fields is not None else None


@dataclass(frozen=True, slots=True)
class EventUsage:
    """Tokens and cost of one LLM call; ``cost_usd`` is ``None`` if the model's price is unknown."""

    llm_model: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that has no sequence yet. ``created_at`` is only set for the events of a replayed trajectory."""

    source: EventSource
    body: EventBody
    usage: EventUsage | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventQuery:
    """One page of one log: ``limit`` events after ``after``, or (``backward``) the last ones before ``before``."""

    conversation_id: UUID
    limit: int
    after: int | None = None
    before: int | None = None
    backward: bool = False
    sources: tuple[EventSource, ...] | None = None

    @property
    def shape(self) -> tuple[object, ...]:
        """The part of the statement's cache key that depends on this query, without its parameters' values."""
        sources = None if self.sources is None else len(self.sources)
        return (self.after is None, self.before is None, self.backward, sources)

    def parameters(self, number: int) -> dict[str, object]:
        """Return the statement's parameters; their names end with the query's number, as a statement has several."""
        return {
            f"conversation_id_{number}": self.conversation_id,
            f"after_{number}": self.after,
            f"before_{number}": self.before,
            f"limit_{number}": self.limit + 1,
            **{f"source_{number}_{place}": source for place, source in enumerate(self.sources or ())},
        }


def count_event(conversation: Conversation, event: NewEvent) -> int:
    """Return the next sequence of a locked conversation's log for an event, and note what lists show of the event.

    A message of the user's marks all before it as read.
    """
    conversation.last_sequence += 1
    if isinstance(event.body, MessageBody) and event.source != EventSource.ENVIRONMENT:
        conversation.last_message_sequence = conversation.last_sequence
    if event.source == EventSource.USER:
        conversation.read_sequence = conversation.last_sequence
    return conversation.last_sequence


def new_row(conversation_id: UUID, run: int, sequence: int, event: NewEvent, now: datetime) -> Event:
    """Create the row of an event, with a sequence taken from the locked conversation."""
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
    """Persistence of events in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, conversation_id: UUID, run: int, sequence: int, event: NewEvent, now: datetime) -> Event:
        """Insert at the next flush, under a sequence that the caller took from the locked conversation."""
        row = new_row(conversation_id, run, sequence, event, now)
        self._session.add(row)
        return row

    async def is_of(self, conversation_id: UUID, sequence: int, run: int, event: NewEvent, now: datetime) -> bool:
        """Tell whether the log has the row that ``add`` would insert, after a commit whose outcome is unknown."""
        row = await self._session.get(Event, (conversation_id, sequence))
        expected = (run, kind_of(event.body), event.source, event.created_at or now)
        return row is not None and (row.run, row.kind, row.source, row.created_at) == expected

    async def after(self, conversation_id: UUID, sequence: int, limit: int) -> list[Event]:
        """Return up to ``limit`` events after a sequence, in order, of any owner's conversation."""
        statement = (
            select(Event)
            .where(col(Event.conversation_id) == conversation_id, col(Event.sequence) > sequence)
            .order_by(col(Event.sequence))
            .limit(limit)
        )
        return list(await self._session.exec(statement))

    async def of_run(self, conversation_id: UUID, run: int) -> list[Event]:
        """Return a run's events without state changes, in order. Their number is bounded by the run's iterations."""
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
        """Return the sequences of all tool calls, in order."""
        statement = (
            select(Event.sequence)
            .where(col(Event.conversation_id) == conversation_id, col(Event.kind) == EventKind.TOOL_CALL)
            .order_by(col(Event.sequence))
        )
        return list(await self._session.exec(statement))

    async def user_messages(self, conversation_id: UUID, limit: int) -> list[Event]:
        """Return the first ``limit`` messages of the user, in order."""
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
        """Return rows in the order of ``keys`` (conversation id, sequence); ``None`` if absent or another owner's."""
        key = tuple_(col(Event.conversation_id), col(Event.sequence))
        statement = (
            select(Event)
            .join(Conversation, col(Conversation.id) == col(Event.conversation_id))
            .where(col(Conversation.owner_id) == owner_id, key.in_(list(keys)))
        )
        rows = {(row.conversation_id, row.sequence): row for row in await self._session.exec(statement)}
        return [rows.get(each) for each in keys]
