"""Converts a conversation's log to the messages of an LLM call, in a form that all providers accept."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from app.models.event import Event, EventSource, MessageBody, ToolCallBody, ToolResultBody, decode_body
from app.services.llm.attached import reference
from app.services.llm.base import ChatMessage, RequestedCall, Role

MAX_EVENTS = 2000

INSTRUCTIONS = (
    "You are a helpful assistant in a conversation that Parley hosts. Answer the user's last message. "
    "Use Markdown where it helps. If you are not sure, say so."
)

INTERRUPTED = "The call was interrupted before it had a result."
STOPPED = "I was stopped here."
MAX_NAME_CHARACTERS = 64
SIGNATURE_MARK = "__thought__"
"""Separator in a call's id, behind which litellm stores the thought signature of a Gemini model."""

# OpenAI takes ids of up to 40 characters; Anthropic takes these characters alone.
_ID = re.compile(r"[a-zA-Z0-9_-]{1,40}")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")


def messages(
    events: Sequence[Event], instructions: str = INSTRUCTIONS, model_name: str | None = None
) -> list[ChatMessage]:
    """Build the messages: the instructions, then the dialogue. ``events`` must be ordered by run and sequence.

    Fields that a provider added to its calls are only sent back to the model with the same name.
    """
    history = _History(instructions)
    for event in events:
        match decode_body(event):
            case ToolCallBody() as body:
                history.call(
                    event.sequence, body, is_own=model_name is not None and event.llm_model in (None, model_name)
                )
            case ToolResultBody() as body:
                history.result(body)
            case MessageBody() as body if event.source != EventSource.ENVIRONMENT:
                role = Role.USER if event.source == EventSource.USER else Role.ASSISTANT
                history.say(role, with_attachments(event.conversation_id, body))
            case _:
                pass
    return history.end()


def with_attachments(conversation_id: UUID, body: MessageBody) -> MessageBody:
    """Name a message's attachments in its text, and add references to the images among them."""
    if not body.attachments:
        return body
    names = [f"/workspace/{each.path} ({each.media_type}, {each.size} bytes)" for each in body.attachments]
    text = "\n\n".join(filter(None, (body.text, f"Attached: {'; '.join(names)}")))
    references = [reference(conversation_id, each) for each in body.attachments]
    images = tuple(each for each in references if each is not None)
    return replace(body, text=text, image_urls=(*body.image_urls, *images))


class _History:
    """Builds messages that even the strictest provider accepts, whatever the log contains.

    Consecutive calls without a result in between were requested together, so they become one message. Providers refuse
    a call without a result, so an interrupted one gets a result that says so. They also refuse names and ids with
    unusual characters, duplicate ids and empty assistant messages; some refuse two consecutive messages of one role, or
    a user message directly after a tool result.
    """

    def __init__(self, instructions: str) -> None:
        self._messages = [ChatMessage(Role.SYSTEM, instructions)]
        self._asked: list[tuple[int, ToolCallBody, bool]] = []
        self._open: dict[int, str] = {}
        self._ids: set[str] = set()

    def call(self, sequence: int, body: ToolCallBody, *, is_own: bool) -> None:
        # Only the first call of an answer can have a thought or fields of the answer.
        if self._open or (self._asked and (body.thought or body.answer_fields)):
            self._interrupt()
        self._asked.append((sequence, body, is_own))

    def result(self, body: ToolResultBody) -> None:
        self._flush()
        call_id = self._open.pop(body.tool_call_sequence, None)
        # A result's call may be older than the events that were read.
        if call_id is not None:
            self._messages.append(ChatMessage(Role.TOOL, body.output, tool_call_id=call_id))

    def say(self, role: Role, body: MessageBody) -> None:
        self._interrupt()
        if not body.text.strip() and (role is Role.ASSISTANT or not body.image_urls):
            return
        self._messages.append(ChatMessage(role, body.text, body.image_urls if role is Role.USER else ()))

    def end(self) -> list[ChatMessage]:
        self._interrupt()
        return alternating(self._messages)

    def _flush(self) -> None:
        if not self._asked:
            return
        first, is_own = self._asked[0][1:]
        calls = tuple(self._sent(sequence, body, is_own=is_own) for sequence, body, _ in self._asked)
        fields = dict(first.answer_fields or {}) if is_own else {}
        text = first.thought or ""
        self._messages.append(ChatMessage(Role.ASSISTANT, text, tool_calls=calls, provider_fields=fields))
        self._open |= {sequence: call.id for (sequence, *_), call in zip(self._asked, calls, strict=True)}
        self._asked.clear()

    def _sent(self, sequence: int, body: ToolCallBody, *, is_own: bool) -> RequestedCall:
        said_id, mark, signature = body.call_id.partition(SIGNATURE_MARK)
        call_id = said_id if _ID.fullmatch(said_id) and said_id not in self._ids else f"call_{sequence}"
        while call_id in self._ids:
            call_id += "_"
        self._ids.add(call_id)
        if is_own and signature:
            call_id += mark + signature
        name = _NOT_IN_NAMES.sub("_", body.tool_name)[:MAX_NAME_CHARACTERS] or "unnamed"
        fields = dict(body.call_fields or {}) if is_own else {}
        return RequestedCall(call_id, name, json.dumps(body.arguments), fields)

    def _interrupt(self) -> None:
        self._flush()
        self._messages += [ChatMessage(Role.TOOL, INTERRUPTED, tool_call_id=call) for call in self._open.values()]
        self._open.clear()


def alternating(history: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Merge consecutive messages of one role, and insert an assistant's between a tool result and a user message."""
    merged: list[ChatMessage] = []
    for message in history:
        last = merged[-1] if merged else None
        if last is not None and last.role is Role.TOOL and message.role is Role.USER:
            merged.append(ChatMessage(Role.ASSISTANT, STOPPED))
        is_more = last is not None and last.role is message.role and message.role in (Role.USER, Role.ASSISTANT)
        if last is not None and is_more and not last.tool_calls:
            text = "\n\n".join(filter(None, (last.text, message.text)))
            merged[-1] = replace(message, text=text, image_urls=(*last.image_urls, *message.image_urls))
        else:
            merged.append(message)
    return merged


def unanswered_calls(events: Sequence[Event]) -> list[tuple[int, ToolCallBody]]:
    """Return the run's tool calls without a result, in order, with their sequences."""
    calls: dict[int, ToolCallBody] = {}
    for event in events:
        match decode_body(event):
            case ToolCallBody() as body:
                calls[event.sequence] = body
            case ToolResultBody() as body:
                calls.pop(body.tool_call_sequence, None)
            case _:
                pass
    return list(calls.items())


def is_answered(events: Sequence[Event]) -> bool:
    """Tell whether the run is done: it has no user message, or its last event is the agent's complete message."""
    spoken = [event for event in events if _is_said(event)]
    if not spoken:
        return True
    last = decode_body(spoken[-1])
    return spoken[-1].source == EventSource.AGENT and isinstance(last, MessageBody) and not last.is_partial


def _is_said(event: Event) -> bool:
    """Tell whether an event belongs to the dialogue; messages of the environment do not."""
    body = decode_body(event)
    return body is not None and not (isinstance(body, MessageBody) and event.source == EventSource.ENVIRONMENT)
