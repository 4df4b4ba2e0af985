"""A conversation's whole log as one document, and back."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from app.errors import ErrorCode, InvalidInput
from app.models.conversation import MAX_TOKENS, AgentState, Conversation, Problem
from app.models.event import (
    Event,
    EventBody,
    EventSource,
    MessageBody,
    NewEvent,
    StateChangeBody,
    ToolCallBody,
    ToolResultBody,
    Usage,
    decode_body,
)
from app.services.message import MAX_IMAGES, Message, check_storable
from app.services.redaction import JSONValue

VERSION = 1
MAX_EVENTS = 50_000
MAX_TEXT = 1_000_000
MAX_DEPTH = 50


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel, populate_by_name=True)


class _Usage(_Part):
    llm_model: Annotated[str, Field(max_length=200)]
    prompt_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)]
    completion_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)]
    cost_usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class _Event(_Part):
    sequence: Annotated[int, Field(ge=1, lt=2**31)]
    run: Annotated[int, Field(ge=1, le=MAX_EVENTS)]
    source: Annotated[EventSource, Field(strict=False)]
    created_at: Annotated[AwareDatetime, Field(strict=False)]
    usage: _Usage | None = None


class _Message(_Event):
    type: Literal["MessageEvent"] = "MessageEvent"
    text: Annotated[str, Field(max_length=MAX_TEXT)]
    image_urls: Annotated[list[str], Field(max_length=MAX_IMAGES)] = []
    is_partial: bool = False


class _ToolCall(_Event):
    type: Literal["ToolCallEvent"] = "ToolCallEvent"
    call_id: Annotated[str, Field(max_length=20_000)]
    tool_name: Annotated[str, Field(max_length=200)]
    arguments: dict[str, Any]
    thought: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    is_cut: bool = False
    call_fields: dict[str, Any] | None = None
    answer_fields: dict[str, Any] | None = None


class _ToolResult(_Event):
    type: Literal["ToolResultEvent"] = "ToolResultEvent"
    tool_call: Annotated[int, Field(ge=1, lt=2**31)]
    output: Annotated[str, Field(max_length=MAX_TEXT)]
    truncated: bool = False
    is_error: bool = False


class _Problem(_Part):
    code: str
    message: Annotated[str, Field(max_length=1000)]


class _StateChange(_Event):
    type: Literal["StateChangeEvent"] = "StateChangeEvent"
    agent_state: Annotated[AgentState, Field(strict=False)]
    problem: _Problem | None = None


class _Document(_Part):
    version: Literal[1]
    conversation_id: str | None = None
    title: str | None = None
    exported_at: str | None = None
    events: Annotated[
        list[Annotated[_Message | _ToolCall | _ToolResult | _StateChange, Field(discriminator="type")]],
        Field(min_length=1, max_length=MAX_EVENTS),
    ]


AnyPart = _Message | _ToolCall | _ToolResult | _StateChange
_PART: TypeAdapter[AnyPart] = TypeAdapter(Annotated[AnyPart, Field(discriminator="type")])
_TYPES = {"MessageEvent", "ToolCallEvent", "ToolResultEvent", "StateChangeEvent"}


def export(conversation: Conversation, events: list[Event], now: datetime) -> dict[str, Any]:
    """The document of a conversation's whole log. An event that this release can't read is left out."""
    parts = [part for event in events if (part := _part(event)) is not None]
    return {
        "version": VERSION,
        "conversationId": str(conversation.id),
        "title": conversation.title,
        "exportedAt": now.isoformat(),
        "events": [part.model_dump(mode="json", by_alias=True, exclude_none=True) for part in parts],
    }


def check(document: object) -> list[dict[str, Any]]:
    """The events of a document, ready to be stored until they are played.

    Raises InvalidInput with the path of the first fault.
    """
    try:
        parsed = _Document.model_validate(document)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ("replay", *(str(step) for step in fault["loc"] if step not in _TYPES))
        # "Input should be a valid dictionary or instance of _Event": the class is nobody's business.
        said = fault["msg"].partition(" or instance of ")[0]
        raise InvalidInput(f"The trajectory is not valid: {said}.", path=path) from None
    calls: set[int] = set()
    previous = 0
    stored: list[dict[str, Any]] = []
    for number, part in enumerate(parsed.events):
        path = ("replay", "events", str(number))
        if part.sequence <= previous:
            raise InvalidInput("The sequences of a trajectory's events increase.", path=(*path, "sequence"))
        previous = part.sequence
        _check_part(part, calls, path)
        stored.append(part.model_dump(mode="json", by_alias=True))
        _check_values(stored[-1], path)
    return stored


def last_run(stored: list[dict[str, Any]]) -> int:
    """The highest run of the stored events."""
    return max(int(part["run"]) for part in stored)


def first_user_text(stored: list[dict[str, Any]]) -> str | None:
    """The first non-blank thing that the user says."""
    for part in stored:
        if part["type"] == "MessageEvent" and part["source"] == EventSource.USER and str(part["text"]).strip():
            return str(part["text"])
    return None


def play(stored: Mapping[str, Any], sequences: Mapping[int, int]) -> tuple[int, int, NewEvent]:
    """A stored event as (its old sequence, its run, the new event). ``sequences``: old to new, of what was played."""
    part = _PART.validate_python(stored)
    usage = None
    if part.usage is not None:
        usage = Usage(part.usage.llm_model, part.usage.prompt_tokens, part.usage.completion_tokens, part.usage.cost_usd)
    return part.sequence, part.run, NewEvent(part.source, _body(part, sequences), usage, part.created_at)


def _check_part(part: AnyPart, calls: set[int], path: tuple[str, ...]) -> None:
    try:
        part.created_at.astimezone(UTC)
    except OverflowError:
        raise InvalidInput("The date is out of range.", path=(*path, "createdAt")) from None
    match part:
        case _Message():
            if part.source is EventSource.USER:
                Message(part.text, tuple(part.image_urls)).check(*path)
        case _ToolCall():
            _check_values(part.arguments, (*path, "arguments"))
            _check_values(part.call_fields, (*path, "callFields"))
            _check_values(part.answer_fields, (*path, "answerFields"))
            calls.add(part.sequence)
        case _ToolResult():
            if part.tool_call not in calls:
                message = "A tool's result names the sequence of an earlier tool call."
                raise InvalidInput(message, path=(*path, "toolCall"))
        case _StateChange():
            if part.problem is not None and part.problem.code not in ErrorCode.__members__:
                message = "The problem's code is not known."
                raise InvalidInput(message, path=(*path, "problem", "code"))


def _check_values(value: JSONValue, path: tuple[str, ...], depth: int = 0) -> None:
    """Raise InvalidInput for a string that no database keeps, and for what is nested too deep."""
    if depth > MAX_DEPTH:
        raise InvalidInput(f"The values of an event are nested at most {MAX_DEPTH} deep.", path=path)
    if isinstance(value, str):
        check_storable(value, *path)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_values(item, (*path, str(number)), depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            check_storable(key, *path)
            _check_values(item, (*path, key), depth + 1)


def _body(part: AnyPart, sequences: Mapping[int, int]) -> EventBody:
    match part:
        case _Message():
            return MessageBody(part.text, tuple(part.image_urls), part.is_partial)
        case _ToolCall():
            return ToolCallBody(
                part.call_id,
                part.tool_name,
                part.arguments,
                part.thought,
                part.is_cut,
                part.call_fields,
                part.answer_fields,
            )
        case _ToolResult():
            return ToolResultBody(sequences[part.tool_call], part.output, part.truncated, part.is_error)
        case _StateChange():
            problem = Problem(ErrorCode[part.problem.code], part.problem.message) if part.problem else None
            return StateChangeBody(part.agent_state, problem)


def _part(event: Event) -> AnyPart | None:
    usage = None
    if event.llm_model is not None:
        usage = _Usage(
            llm_model=event.llm_model,
            prompt_tokens=event.prompt_tokens or 0,
            completion_tokens=event.completion_tokens or 0,
            cost_usd=event.cost_usd,
        )
    head: dict[str, Any] = {
        "sequence": event.sequence,
        "run": event.run,
        "source": EventSource(event.source),
        "created_at": event.created_at,
        "usage": usage,
    }
    match decode_body(event):
        case MessageBody() as body:
            return _Message(**head, text=body.text, image_urls=list(body.image_urls), is_partial=body.is_partial)
        case ToolCallBody() as body:
            arguments = dict(body.arguments)
            return _ToolCall(
                **head,
                call_id=body.call_id,
                tool_name=body.tool_name,
                arguments=arguments,
                thought=body.thought,
                is_cut=body.is_cut,
                call_fields=dict(body.call_fields) if body.call_fields else None,
                answer_fields=dict(body.answer_fields) if body.answer_fields else None,
            )
        case ToolResultBody() as body:
            return _ToolResult(
                **head,
                tool_call=body.tool_call_sequence,
                output=body.output,
                truncated=body.truncated,
                is_error=body.is_error,
            )
        case StateChangeBody() as body:
            problem = _Problem(code=body.problem.code.name, message=body.problem.message) if body.problem else None
            return _StateChange(**head, agent_state=body.agent_state, problem=problem)
        case None:
            return None
