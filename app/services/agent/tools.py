"""Tools that the agent may call."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from app.logs import new_reference_id
from app.services.chat import ToolSpec

log = structlog.get_logger(__name__)

MAX_ARGUMENTS_LENGTH = 200_000


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What a tool answered."""

    output: str
    truncated: bool = False
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: how the LLM sees it, and what runs it for a conversation."""

    spec: ToolSpec
    run: Callable[[UUID, Mapping[str, Any]], Awaitable[ToolOutput]]


class Toolbox:
    """The tools of an agent, by name. A bad call is told to the agent; it never fails the run."""

    def __init__(self, tools: Sequence[Tool] = ()) -> None:
        self._tools = {tool.spec.name: tool for tool in tools}

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools as the LLM sees them."""
        return tuple(tool.spec for tool in self._tools.values())

    async def run(self, conversation_id: UUID, name: str, arguments: Mapping[str, Any]) -> ToolOutput:
        """Run a tool for a conversation."""
        tool = self._tools.get(name)
        if tool is None:
            names = ", ".join(sorted(self._tools)) or "none"
            return ToolOutput(f"There is no tool named {name[:100]!r}. Tools: {names}.", is_error=True)
        try:
            return await tool.run(conversation_id, arguments)
        except Exception:  # Whatever is wrong in a tool, the agent can be told and go on without it.
            reference = new_reference_id()
            log.exception("tool.failed", tool=name, conversation_id=str(conversation_id), reference=reference)
            return ToolOutput(f"The tool failed unexpectedly; reference {reference}.", is_error=True)


def parse_arguments(text: str) -> dict[str, Any]:
    """A call's arguments as an LLM wrote them; what is no JSON object is kept as ``{"unparsed": …}``."""
    try:
        value: object = json.loads(text or "{}")
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and len(text) <= MAX_ARGUMENTS_LENGTH:
        return dict(value)  # pyright: ignore[reportUnknownArgumentType]  JSON has string keys.
    return {"unparsed": text[:MAX_ARGUMENTS_LENGTH]}
