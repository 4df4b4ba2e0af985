"""Detects an agent that repeats itself."""

from collections.abc import Sequence

from app.errors import ErrorCode
from app.models.conversation import Problem
from app.models.event import Event, ToolCallBody, ToolResultBody, decode_body

REPETITIONS = 4


def stuck(events: Sequence[Event]) -> Problem | None:
    """Return the reason to pause a run whose last four calls, and their results, were identical; else ``None``."""
    calls: dict[int, ToolCallBody] = {}
    answered: list[tuple[ToolCallBody, ToolResultBody]] = []
    for event in events:
        match decode_body(event):
            case ToolCallBody() as body:
                calls[event.sequence] = body
            case ToolResultBody() as body if body.tool_call_sequence in calls:
                answered.append((calls[body.tool_call_sequence], body))
            case _:
                pass
    last = answered[-REPETITIONS:]
    if len(last) < REPETITIONS or any(_told(pair) != _told(last[0]) for pair in last):
        return None
    name = last[0][0].tool_name
    message = f"The agent called {name} {REPETITIONS} times with the same arguments and got the same result each time."
    return Problem(ErrorCode.AGENT_STUCK, message)


def _told(pair: tuple[ToolCallBody, ToolResultBody]) -> tuple[object, ...]:
    call, result = pair
    return call.tool_name, call.arguments, result.output, result.is_error
