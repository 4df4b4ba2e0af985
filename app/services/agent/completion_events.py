"""Converts an LLM's answer to events of the log, with bounds on lengths and with secrets redacted."""

from collections.abc import Mapping
from typing import Any, cast

from app.errors import ErrorCode
from app.models.conversation import Problem
from app.models.event import EventSource, EventUsage, NewEvent, ToolCallBody
from app.services.agent.argument_text import is_whole, parse_arguments
from app.services.llm.base import Completion, Ending
from app.services.message import storable, storable_json
from app.services.secrets.redaction import JSONValue, Redactor

MAX_TOOL_CALLS = 50
MAX_NAME_CHARS = 200
# litellm appends the signature of a Gemini model's thoughts to the id.
MAX_ID_CHARS = 20_000


def tool_call_events(completion: Completion, text: str, usage: EventUsage, redactor: Redactor) -> list[NewEvent]:
    """Create an event for each tool call. The first one has the answer's text, usage and provider-specific fields."""
    calls: list[NewEvent] = []
    asked = completion.tool_calls[:MAX_TOOL_CALLS]
    for number, call in enumerate(asked):
        is_last = number == len(completion.tool_calls) - 1
        body = ToolCallBody(
            redactor.text(storable(call.id))[:MAX_ID_CHARS],
            redactor.text(storable(call.name))[:MAX_NAME_CHARS],
            cast("dict[str, Any]", redactor.json(parse_arguments(call.arguments))),
            text if number == 0 and text else None,
            is_cut=is_last and completion.ending is not Ending.WHOLE and not is_whole(call.arguments),
            call_fields=_kept_fields(call.provider_fields, redactor),
            answer_fields=_kept_fields(completion.provider_fields, redactor) if number == 0 else None,
        )
        calls.append(NewEvent(EventSource.AGENT, body, usage if number == 0 else None))
    return calls


def shortcoming(completion: Completion) -> Problem | None:
    """Return the reason to pause the agent after an answer that was cut off, filtered or empty; else ``None``."""
    if completion.ending is Ending.CUT:
        message = "The model's answer was cut off at the limit on its length. A message such as “Go on” continues it."
        return Problem(ErrorCode.LIMIT_REACHED, message)
    if completion.ending is Ending.FILTERED:
        message = "The model's provider ended the answer with its content filter."
        return Problem(ErrorCode.STATUS_ERROR_LLM_CONTENT_POLICY_VIOLATION, message)
    if completion.is_empty:
        return Problem(
            ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR,
            "The model gave an empty answer, twice. Send a message to ask it again.",
        )
    return None


def _kept_fields(fields: Mapping[str, object], redactor: Redactor) -> Mapping[str, Any] | None:
    """Redact provider-specific fields, which are sent back to the provider; ``None`` if there are none."""
    try:
        kept = redactor.json(storable_json(cast("JSONValue", fields)))
    except RecursionError:
        return None
    return cast("Mapping[str, Any]", kept) or None
