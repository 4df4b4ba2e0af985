"""What the agent is told: its instructions, and the dialogue so far."""

import json
from collections.abc import Sequence

from app.models.event import Event, EventSource, MessageBody, ToolCallBody, ToolResultBody, decode_body
from app.services.chat import ChatMessage, Role, ToolCall

MAX_EVENTS = 2000

INSTRUCTIONS = (
    "You are a helpful assistant in a conversation that Parley hosts. Answer the user's last message. "
    "Use Markdown where it helps. If you are not sure, say so."
)

INTERRUPTED = "The call was interrupted before it had a result."


def messages(events: Sequence[Event], instructions: str = INSTRUCTIONS) -> list[ChatMessage]:
    """The dialogue in an LLM's terms, behind the instructions. ``events`` are ordered by run and sequence."""
    history = _History(instructions)
    for event in events:
        match decode_body(event):
            case ToolCallBody() as body:
                history.call(event.sequence, body)
            case ToolResultBody() as body:
                history.result(body)
            case MessageBody() as body if event.source != EventSource.ENVIRONMENT:
                history.say(Role.USER if event.source == EventSource.USER else Role.ASSISTANT, body)
            case _:
                pass
    return history.end()


class _History:
    """Messages that a provider accepts.

    Calls that follow one another without a result between them were asked for at once, so they become one message.
    Providers refuse a call without a result: an interrupted one gets a result that says so.
    """

    def __init__(self, instructions: str) -> None:
        self._messages = [ChatMessage(Role.SYSTEM, instructions)]
        self._asked: list[tuple[int, ToolCallBody]] = []
        self._open: dict[int, str] = {}

    def call(self, sequence: int, body: ToolCallBody) -> None:
        if self._open:
            self._interrupt()
        self._asked.append((sequence, body))

    def result(self, body: ToolResultBody) -> None:
        self._flush()
        call_id = self._open.pop(body.tool_call_sequence, None)
        # The call of a result can lie before the events that were read.
        if call_id is not None:
            self._messages.append(ChatMessage(Role.TOOL, body.output, tool_call_id=call_id))

    def say(self, role: Role, body: MessageBody) -> None:
        self._interrupt()
        self._messages.append(ChatMessage(role, body.text, body.image_urls if role is Role.USER else ()))

    def end(self) -> list[ChatMessage]:
        self._interrupt()
        return self._messages

    def _flush(self) -> None:
        if not self._asked:
            return
        calls = tuple(ToolCall(body.call_id, body.tool_name, json.dumps(body.arguments)) for _, body in self._asked)
        self._messages.append(ChatMessage(Role.ASSISTANT, self._asked[0][1].thought or "", tool_calls=calls))
        self._open |= {sequence: body.call_id for sequence, body in self._asked}
        self._asked.clear()

    def _interrupt(self) -> None:
        self._flush()
        self._messages += [ChatMessage(Role.TOOL, INTERRUPTED, tool_call_id=call) for call in self._open.values()]
        self._open.clear()


def unanswered_calls(events: Sequence[Event]) -> list[tuple[int, ToolCallBody]]:
    """The run's tool calls that have no result yet, in order."""
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
    """Whether nothing is left to do in the run: no user message, or the agent said something after everything else."""
    spoken = [event for event in events if _is_said(event)]
    return not spoken or (spoken[-1].source == EventSource.AGENT and isinstance(decode_body(spoken[-1]), MessageBody))


def _is_said(event: Event) -> bool:
    """Whether an event belongs to the dialogue; what the environment tells about itself does not."""
    body = decode_body(event)
    return body is not None and not (isinstance(body, MessageBody) and event.source == EventSource.ENVIRONMENT)
