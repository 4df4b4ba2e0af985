"""The agent's tools: their specification for the LLM, validation of arguments, and dispatch."""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from app.logs import new_reference_id
from app.models.conversation import Conversation
from app.models.settings import PublishPolicy
from app.services.agent.argument_text import UNPARSED, fault_in
from app.services.filesystem.path_walk import WorkspacePathError
from app.services.llm.base import ToolSpec
from app.services.sandbox.base import OnOutput, SandboxUnavailable
from app.services.sandbox.shell import Shell

log = structlog.get_logger(__name__)

MAX_FAULTS = 5
MAX_FAULT_LENGTH = 300


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """The output of a tool call, as the agent gets it."""

    output: str
    truncated: bool = False
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class ToolContext:
    """The context of a call. ``on_output`` is called with output while the tool runs, for subscribers.

    ``is_confirmed``: the user has confirmed this very call.
    """

    conversation_id: UUID
    on_output: OnOutput | None = None
    owner_id: str = ""
    is_confirmed: bool = False


class ToolFault(Exception):
    """An expected failure of a call. The message is for the agent."""


class Arguments(BaseModel):
    """Base class of tools' arguments, which are validated before a call. Its JSON Schema is sent to the LLM."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class PublishRule:
    """When a tool that publishes work may go without confirmation.

    ``allowed_by``: the policies of the owner that may let a call go. ``needs_user`` excepts single calls, by their
    conversation and the arguments as the LLM sent them.
    """

    allowed_by: frozenset[PublishPolicy]
    needs_user: Callable[[Conversation, Mapping[str, Any]], bool] | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: its specification for the LLM, and its implementation. If it needs a shell, it needs a sandbox too.

    ``changes_files``: whoever watches the workspace is told after a call. ``publishing``: it is only for conversations
    with a repository, and waits for the user's confirmation unless the owner's policy allows the call.
    """

    spec: ToolSpec
    run: Callable[[ToolContext, Mapping[str, Any]], Awaitable[ToolOutput]]
    needs_shell: bool = False
    changes_files: bool = True
    publishing: PublishRule | None = None


A = TypeVar("A", bound=Arguments)


def typed_tool(
    name: str,
    description: str,
    arguments: type[A],
    work: Callable[[ToolContext, A], Awaitable[ToolOutput]],
    *,
    needs_shell: bool = False,
    changes_files: bool = True,
    publishing: PublishRule | None = None,
) -> Tool:
    """Build a tool whose arguments are validated by a pydantic model, of which the LLM gets the JSON Schema."""

    async def run(context: ToolContext, given: Mapping[str, Any]) -> ToolOutput:
        try:
            checked = arguments.model_validate(given)
        except ValidationError as error:
            raise ToolFault(f"The call does not fit {name}: {_faults(error, given)}.") from None
        return await work(context, checked)

    return Tool(ToolSpec(name, description, _schema(arguments)), run, needs_shell, changes_files, publishing)


class Toolbox:
    """The tools of an agent, by name. A failed call becomes an error message for the agent, never fails the run."""

    def __init__(self, tools: Sequence[Tool] = (), shell: Shell | None = None) -> None:
        self._all = tools
        self._shell = shell

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The specifications of the available tools for the LLM."""
        return tuple(tool.spec for tool in self._tools().values())

    def specs_for(self, *, has_repository: bool) -> tuple[ToolSpec, ...]:
        """The specifications of the tools that are of use in a conversation."""
        tools = self._tools().values()
        return tuple(tool.spec for tool in tools if has_repository or tool.publishing is None)

    def needs_confirmation(
        self, conversation: Conversation, name: str, arguments: Mapping[str, Any], policy: PublishPolicy
    ) -> bool:
        """Tell whether the user has to confirm a call although the confirmation mode is off."""
        tools = self._tools()
        tool = tools.get(resolved_name(name, tools.keys()))
        if tool is None or tool.publishing is None:
            return False
        publishing = tool.publishing
        is_excepted = publishing.needs_user is not None and publishing.needs_user(conversation, arguments)
        return is_excepted or policy not in publishing.allowed_by

    @property
    def shortcoming(self) -> str | None:
        """A sentence for users about tools that are missing, if any are."""
        if self._shell is None or self._shell.absence is None:
            return None
        return f"The agent has no shell: {self._shell.absence}"

    def changes_files(self, name: str) -> bool:
        """Tell whether a call may change the workspace's files; False for an unknown tool."""
        tools = self._tools()
        tool = tools.get(resolved_name(name, tools.keys()))
        return tool is not None and tool.changes_files

    async def run(self, context: ToolContext, name: str, arguments: Mapping[str, Any]) -> ToolOutput:
        """Run a tool; errors of any type become an error output."""
        tools = self._tools()
        tool = tools.get(resolved_name(name, tools.keys()))
        if tool is None:
            names = ", ".join(sorted(tools)) or "none"
            return ToolOutput(f"There is no tool named {name[:100]!r}. Tools: {names}.", is_error=True)
        try:
            return await tool.run(context, arguments)
        except (ToolFault, WorkspacePathError) as fault:
            return ToolOutput(str(fault), is_error=True)
        except SandboxUnavailable as error:
            return ToolOutput(f"The command could not be run: {error}", is_error=True)
        except Exception:  # Any bug in a tool is reported to the agent, which can go on without the tool.
            reference = new_reference_id()
            log.exception("tool.failed", tool=name, conversation_id=str(context.conversation_id), reference=reference)
            return ToolOutput(f"The tool failed unexpectedly; reference {reference}.", is_error=True)

    def _tools(self) -> dict[str, Tool]:
        has_shell = self._shell is not None and self._shell.sandbox is not None
        return {tool.spec.name: tool for tool in self._all if has_shell or not tool.needs_shell}


def resolved_name(requested: str, names: Collection[str]) -> str:
    """Resolve the tool's name: some models write ``functions.NAME``, or channel markers after the name."""
    name = _MARKER.split(requested, maxsplit=1)[0].strip()
    last = re.split(r"[.:/]", name)[-1]
    return next((known for known in (requested, name, last) if known in names), requested)


_MARKER = re.compile(r"<\|")


def _faults(error: ValidationError, given: Mapping[str, Any]) -> str:
    """List the errors of the arguments, without repeating their values."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    if isinstance(text := given.get(UNPARSED), str):
        return fault_in(text) or "the arguments are no JSON object"
    told = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"[:MAX_FAULT_LENGTH] for fault in faults[:MAX_FAULTS]]
    return "; ".join(told)


def _schema(arguments: type[Arguments]) -> Mapping[str, object]:
    """Return the model's JSON Schema without titles, which only repeat the names."""
    schema = arguments.model_json_schema()
    properties: dict[str, dict[str, object]] = schema.get("properties", {})
    return {
        "type": "object",
        "properties": {
            name: {key: value for key, value in field.items() if key != "title"} for name, field in properties.items()
        },
        "required": schema.get("required", []),
        "additionalProperties": False,
    }
