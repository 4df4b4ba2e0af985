"""Trajectories: the events of a log as a JSON document has them, and validation of such a document for replay.

The limits are higher than anything the server itself writes, even after redaction has made texts longer, so that every
export is accepted again.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from app.errors import ErrorCode, InvalidInput
from app.models.conversation import MAX_TOKENS, AgentState, Conversation, Problem
from app.models.event import (
    Attachment,
    Event,
    EventBody,
    EventKind,
    EventSource,
    EventUsage,
    MessageBody,
    NewEvent,
    StateChangeBody,
    ToolCallBody,
    ToolResultBody,
    decode_body,
)
from app.services.message import (
    MAX_ATTACHMENTS,
    MAX_IMAGES,
    MAX_JSON_DEPTH,
    AttachmentChoice,
    Message,
    check_image_url,
    check_storable,
)
from app.services.secrets.redaction import JSONValue, Redactor

VERSION = 1
MAX_EVENTS = 50_000
# A model's answer has up to 2,000,000 characters, and redaction may double its length.
MAX_TEXT = 4_000_000
MAX_CALL_ID = 40_000
MAX_TOOL_NAME = 400
MAX_PROBLEM = 2000
MAX_MODEL_NAME = 200
# A path of 4,096 bytes, each quoted in four characters.
MAX_ATTACHMENT_NAME = 20_000
MAX_INTEGER = 2**31 - 1
# Replaces an image whose URL contains a secret: redacted, it would not be a valid URL, and models would refuse it.
HIDDEN_IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mP4DwABAQEAHLCMmQAAAABJRU5ErkJggg=="
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel, populate_by_name=True)


class _UsagePart(_Part):
    llm_model: Annotated[str, Field(max_length=MAX_MODEL_NAME)]
    prompt_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)]
    completion_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)]
    cost_usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class _EventPart(_Part):
    sequence: Annotated[int, Field(ge=1, le=MAX_INTEGER)]
    run: Annotated[int, Field(ge=1, le=MAX_INTEGER)]
    source: Annotated[EventSource, Field(strict=False)]
    created_at: Annotated[AwareDatetime, Field(strict=False)]
    usage: _UsagePart | None = None


class _AttachmentPart(_Part):
    """A file that a message names, without its content."""

    name: Annotated[str, Field(max_length=MAX_ATTACHMENT_NAME)]
    media_type: Annotated[str, Field(max_length=MAX_ATTACHMENT_NAME)]
    size_bytes: Annotated[int, Field(ge=0, le=MAX_TOKENS)]
    path: Annotated[str, Field(max_length=MAX_ATTACHMENT_NAME)]


class _MessagePart(_EventPart):
    type: Literal["MessageEvent"] = "MessageEvent"
    text: Annotated[str, Field(max_length=MAX_TEXT)]
    image_urls: Annotated[list[str], Field(max_length=MAX_IMAGES)] = []
    is_partial: bool = False
    attachments: Annotated[list[_AttachmentPart], Field(max_length=MAX_ATTACHMENTS)] | None = None


class _ToolCallPart(_EventPart):
    type: Literal["ToolCallEvent"] = "ToolCallEvent"
    call_id: Annotated[str, Field(max_length=MAX_CALL_ID)]
    tool_name: Annotated[str, Field(max_length=MAX_TOOL_NAME)]
    arguments: dict[str, Any]
    thought: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    is_cut: bool = False
    call_fields: dict[str, Any] | None = None
    answer_fields: dict[str, Any] | None = None


class _ToolResultPart(_EventPart):
    type: Literal["ToolResultEvent"] = "ToolResultEvent"
    tool_call: Annotated[int, Field(ge=1, le=MAX_INTEGER)]
    output: Annotated[str, Field(max_length=MAX_TEXT)]
    truncated: bool = False
    is_error: bool = False


class _ProblemPart(_Part):
    code: str
    message: Annotated[str, Field(max_length=MAX_PROBLEM)]


class _StateChangePart(_EventPart):
    type: Literal["StateChangeEvent"] = "StateChangeEvent"
    agent_state: Annotated[AgentState, Field(strict=False)]
    problem: _ProblemPart | None = None


class _Document(_Part):
    version: Literal[1]
    conversation_id: str | None = None
    title: str | None = None
    exported_at: str | None = None
    events: Annotated[
        list[Annotated[_MessagePart | _ToolCallPart | _ToolResultPart | _StateChangePart, Field(discriminator="type")]],
        Field(max_length=MAX_EVENTS),
    ]


AnyPart = _MessagePart | _ToolCallPart | _ToolResultPart | _StateChangePart
_PART: TypeAdapter[AnyPart] = TypeAdapter(Annotated[AnyPart, Field(discriminator="type")])
_WORDS = {"text", "thought", "output", "callId", "toolName", "arguments", "callFields", "answerFields"}
_TYPES = {"MessageEvent", "ToolCallEvent", "ToolResultEvent", "StateChangeEvent"}


class Exporter:
    """Turns the events of one log, page after page, into what a trajectory has of them, with secrets redacted.

    Events that this release can't decode are left out, and so are the results of such tool calls. Call it in a thread,
    since a long page takes seconds.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._calls: set[int] = set()

    def head(self, conversation: Conversation, now: datetime) -> dict[str, Any]:
        """The document's fields but the events."""
        return {
            "version": VERSION,
            "conversationId": str(conversation.id),
            "title": self._redactor.text(conversation.title),
            "exportedAt": now.isoformat(),
        }

    def events(self, events: Sequence[Event]) -> list[dict[str, Any]]:
        """The next events of the log."""
        parts: list[AnyPart] = []
        for event in events:
            part = _part(event)
            if isinstance(part, _ToolCallPart):
                self._calls.add(part.sequence)
            if part is not None and (not isinstance(part, _ToolResultPart) or part.tool_call in self._calls):
                parts.append(part)
        return [
            _without_secrets(part.model_dump(mode="json", by_alias=True, exclude_none=True), self._redactor)
            for part in parts
        ]


def check(document: object) -> list[dict[str, Any]]:
    """Validate a document, and return its events in the form in which they are stored for replay.

    Raises InvalidInput with the path of the first error.
    """
    try:
        parsed = _Document.model_validate(document)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ("replay", *(str(step) for step in fault["loc"] if step not in _TYPES))
        # Pydantic says "… or instance of _EventPart". Clients should not see the names of internal classes.
        reason = fault["msg"].partition(" or instance of ")[0]
        raise InvalidInput(f"The trajectory is not valid: {reason}.", path=path) from None
    if not parsed.events and parsed.conversation_id is None:
        # An export of a conversation without events is not accepted either.
        raise InvalidInput("The trajectory has no events.", path=("replay", "events"))
    calls: set[int] = set()
    runs = _runs(parsed.events)
    previous = 0
    stored: list[dict[str, Any]] = []
    for number, part in enumerate(parsed.events):
        path = ("replay", "events", str(number))
        if part.sequence <= previous:
            raise InvalidInput("The sequences of a trajectory's events increase.", path=(*path, "sequence"))
        previous = part.sequence
        _check_part(part, calls, path)
        stored.append({**part.model_dump(mode="json", by_alias=True), "run": runs.get(part.run, part.run)})
        # Depth starts at -1 since the event's own fields do not count as a level of nesting.
        _check_values(stored[-1], path, -1)
    return stored


def last_run(stored: list[dict[str, Any]]) -> int:
    """Return the highest run of the stored events; 1 if there are none."""
    return max((int(part["run"]) for part in stored), default=1)


def first_user_text(stored: list[dict[str, Any]]) -> str | None:
    """Return the text of the user's first message that is not blank."""
    for part in stored:
        if part["type"] == "MessageEvent" and part["source"] == EventSource.USER and str(part["text"]).strip():
            return str(part["text"])
    return None


def tool_calls(stored: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the sequences of the tool calls among the stored events, in order."""
    return [int(part["sequence"]) for part in stored if part["type"] == EventKind.TOOL_CALL]


def play(stored: Mapping[str, Any], sequences: Mapping[int, int]) -> tuple[int, int, NewEvent]:
    """Convert a stored event to (its old sequence, its run, the new event).

    ``sequences`` maps old to new sequences of the events that were replayed already, for references to tool calls.
    """
    part = _PART.validate_python(stored)
    usage = None
    if part.usage is not None:
        usage = EventUsage(
            part.usage.llm_model, part.usage.prompt_tokens, part.usage.completion_tokens, part.usage.cost_usd
        )
    return part.sequence, part.run, NewEvent(part.source, _body(part, sequences), usage, part.created_at)


def _runs(events: list[AnyPart]) -> Mapping[int, int]:
    """Map runs to their ranks if a run number is too large to continue counting from; empty otherwise."""
    numbers = sorted({part.run for part in events})
    if not numbers or numbers[-1] <= MAX_EVENTS:
        return {}
    return {run: rank for rank, run in enumerate(numbers, 1)}


def _check_part(part: AnyPart, calls: set[int], path: tuple[str, ...]) -> None:
    try:
        part.created_at.astimezone(UTC)
    except OverflowError:
        raise InvalidInput("The date is out of range.", path=(*path, "createdAt")) from None
    match part:
        case _MessagePart():
            if part.source is EventSource.USER:
                choices = tuple(AttachmentChoice(path=each.path) for each in part.attachments or ())
                Message(part.text, tuple(part.image_urls), choices).check(*path, max_length=MAX_TEXT)
            else:
                # Clients show the images of every message.
                for number, url in enumerate(part.image_urls):
                    check_image_url(url, *path, "imageUrls", str(number))
        case _ToolCallPart():
            calls.add(part.sequence)
        case _ToolResultPart():
            if part.tool_call not in calls:
                message = "A tool's result names the sequence of an earlier tool call."
                raise InvalidInput(message, path=(*path, "toolCall"))
        case _StateChangePart():
            if part.problem is not None and part.problem.code not in ErrorCode.__members__:
                message = "The problem's code is not known."
                raise InvalidInput(message, path=(*path, "problem", "code"))


def _check_values(value: JSONValue, path: tuple[str, ...], depth: int = 0) -> None:
    """Raise InvalidInput for a string that no database can store, or if the value nests too deep."""
    if depth > MAX_JSON_DEPTH:
        raise InvalidInput(f"The values of an event are nested at most {MAX_JSON_DEPTH} deep.", path=path)
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
        case _MessagePart():
            attached = tuple(
                Attachment(each.name, each.media_type, each.size_bytes, "", each.path)
                for each in part.attachments or ()
            )
            return MessageBody(part.text, tuple(part.image_urls), part.is_partial, attached)
        case _ToolCallPart():
            return ToolCallBody(
                part.call_id,
                part.tool_name,
                part.arguments,
                part.thought,
                part.is_cut,
                part.call_fields,
                part.answer_fields,
            )
        case _ToolResultPart():
            return ToolResultBody(sequences[part.tool_call], part.output, part.truncated, part.is_error)
        case _StateChangePart():
            problem = Problem(ErrorCode[part.problem.code], part.problem.message) if part.problem else None
            return StateChangeBody(part.agent_state, problem)


def _part(event: Event) -> AnyPart | None:
    head: dict[str, Any] = {
        "sequence": event.sequence,
        "run": event.run,
        "source": EventSource(event.source),
        "created_at": event.created_at,
        "usage": _usage(event),
    }
    match decode_body(event):
        case MessageBody() as body:
            return _message(head, body)
        case ToolCallBody() as body:
            return _tool_call(head, body)
        case ToolResultBody() as body:
            return _ToolResultPart(
                **head,
                tool_call=body.tool_call_sequence,
                output=body.output,
                truncated=body.truncated,
                is_error=body.is_error,
            )
        case StateChangeBody() as body:
            problem = _ProblemPart(code=body.problem.code.name, message=body.problem.message) if body.problem else None
            return _StateChangePart(**head, agent_state=body.agent_state, problem=problem)
        case None:
            return None


def _usage(event: Event) -> _UsagePart | None:
    if event.llm_model is None:
        return None
    cost = event.cost_usd
    return _UsagePart(
        llm_model=event.llm_model[:MAX_MODEL_NAME],
        prompt_tokens=max(0, event.prompt_tokens or 0),
        completion_tokens=max(0, event.completion_tokens or 0),
        cost_usd=cost if cost is not None and cost >= 0 and math.isfinite(cost) else None,
    )


def _message(head: dict[str, Any], body: MessageBody) -> _MessagePart:
    attachments = [
        _AttachmentPart(name=each.name, media_type=each.media_type, size_bytes=each.size, path=each.path)
        for each in body.attachments
    ]
    return _MessagePart(
        **head,
        text=body.text,
        image_urls=list(body.image_urls),
        is_partial=body.is_partial,
        attachments=attachments or None,
    )


def _tool_call(head: dict[str, Any], body: ToolCallBody) -> _ToolCallPart:
    return _ToolCallPart(
        **head,
        call_id=body.call_id,
        tool_name=body.tool_name,
        arguments=dict(body.arguments),
        thought=body.thought,
        is_cut=body.is_cut,
        call_fields=dict(body.call_fields) if body.call_fields else None,
        answer_fields=dict(body.answer_fields) if body.answer_fields else None,
    )


def _without_secrets(event: dict[str, Any], redactor: Redactor) -> dict[str, Any]:
    """Redact an event's values but not the document's own keys, since a secret may equal one, such as ``sequence``."""
    for name in _WORDS & event.keys():
        event[name] = redactor.json(event[name])
    for attachment in event.get("attachments", ()):
        attachment.update({name: redactor.text(attachment[name]) for name in ("name", "path")})
    if urls := event.get("imageUrls"):
        event["imageUrls"] = [url if redactor.text(url) == url else HIDDEN_IMAGE for url in urls]
    if problem := event.get("problem"):
        problem["message"] = redactor.text(problem["message"])
    if usage := event.get("usage"):
        usage["llmModel"] = redactor.text(usage["llmModel"])[:MAX_MODEL_NAME]
    return event
