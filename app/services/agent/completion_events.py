"""Converts what a model answered to events of the log, within bounds and without secrets."""

from collections.abc import Mapping
from typing import Any, cast

from app.errors import ErrorCode
from app.models.conversation import Problem
from app.models.event import EventSource, EventUsage, NewEvent, ToolCallBody
from app.services.agent.tools import is_whole, parse_arguments
from app.services.llm.base import Completion, Ending
from app.services.message import storable, storable_json
from app.services.secrets.redaction import JSONValue, Redactor

MAX_TOOL_CALLS = 50
MAX_NAME_CHARS = 200
# litellm hides the signatures of thoughts in them.
MAX_ID_CHARS = 20_000


def tool_call_events(completion: Completion, text: str, usage: EventUsage, redactor: Redactor) -> list[NewEvent]:
    """Make an event of each tool call; the first one carries the answer's text, usage and provider's fields."""
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
    """Why the agent pauses behind an answer."""
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
    """What a provider wants back, as it can be stored; ``None`` where that is nothing."""
    try:
        kept = redactor.json(storable_json(cast("JSONValue", fields)))
    except RecursionError:
        return None
    return cast("Mapping[str, Any]", kept) or None
