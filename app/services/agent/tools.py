"""The agent's tools: their specification for the LLM, validation of arguments, and dispatch."""

import json
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from app.logs import new_reference_id
from app.services.filesystem.files import WorkspacePathError
from app.services.llm.base import ToolSpec
from app.services.message import MAX_NUMBER_CHARS, storable, storable_json
from app.services.sandbox.base import OnOutput, SandboxUnavailable
from app.services.sandbox.shell import Shell
from app.services.secrets.redaction import JSONValue

log = structlog.get_logger(__name__)

MAX_ARGUMENTS_LENGTH = 200_000
MAX_VALUES = 8
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
    """The context of a call. ``on_output`` is called with output while the tool runs, for subscribers."""

    conversation_id: UUID
    on_output: OnOutput | None = None


class ToolFault(Exception):
    """An expected failure of a call. The message is for the agent."""


class Arguments(BaseModel):
    """Base class of tools' arguments, which are validated before a call. Its JSON Schema is sent to the LLM."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: its specification for the LLM, and its implementation. If it needs a shell, it needs a sandbox too."""

    spec: ToolSpec
    run: Callable[[ToolContext, Mapping[str, Any]], Awaitable[ToolOutput]]
    needs_shell: bool = False


A = TypeVar("A", bound=Arguments)


def typed_tool(
    name: str,
    description: str,
    arguments: type[A],
    work: Callable[[ToolContext, A], Awaitable[ToolOutput]],
    *,
    needs_shell: bool = False,
) -> Tool:
    """Build a tool whose arguments are validated by a pydantic model, of which the LLM gets the JSON Schema."""

    async def run(context: ToolContext, given: Mapping[str, Any]) -> ToolOutput:
        try:
            checked = arguments.model_validate(given)
        except ValidationError as error:
            raise ToolFault(f"The call does not fit {name}: {_faults(error)}.") from None
        return await work(context, checked)

    return Tool(ToolSpec(name, description, _schema(arguments)), run, needs_shell)


class Toolbox:
    """The tools of an agent, by name. A failed call becomes an error message for the agent, never fails the run."""

    def __init__(self, tools: Sequence[Tool] = (), shell: Shell | None = None) -> None:
        self._all = tools
        self._shell = shell

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The specifications of the available tools for the LLM."""
        return tuple(tool.spec for tool in self._tools().values())

    @property
    def shortcoming(self) -> str | None:
        """A sentence for users about tools that are missing, if any are."""
        if self._shell is None or self._shell.absence is None:
            return None
        return f"The agent has no shell: {self._shell.absence}"

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
        except Exception:  # Whatever is wrong in a tool, the agent can be told and go on without it.
            reference = new_reference_id()
            log.exception("tool.failed", tool=name, conversation_id=str(context.conversation_id), reference=reference)
            return ToolOutput(f"The tool failed unexpectedly; reference {reference}.", is_error=True)

    def _tools(self) -> dict[str, Tool]:
        has_shell = self._shell is not None and self._shell.sandbox is not None
        return {tool.spec.name: tool for tool in self._all if has_shell or not tool.needs_shell}


def parse_arguments(text: str) -> dict[str, Any]:
    """Parse a call's arguments from an LLM's text, in a form that every database can store.

    Text that is not a JSON object, is longer than 200,000 characters or nests deeper than 50 levels becomes
    ``{"unparsed": …}``.
    """
    if len(text) <= MAX_ARGUMENTS_LENGTH:
        with suppress(ValueError, RecursionError):
            arguments = _object(text)
            if arguments is not None:
                return cast("dict[str, Any]", storable_json(cast("JSONValue", arguments)))
    return {"unparsed": storable(text[:MAX_ARGUMENTS_LENGTH])}


def is_whole(text: str) -> bool:
    """Tell whether a call's arguments are a complete JSON object."""
    with suppress(ValueError, RecursionError):
        return bool(text.strip()) and _object(text) is not None
    return False


def _object(text: str) -> dict[str, object] | None:
    """Parse the object in a text; ``None`` for other values, or several objects. Raises ValueError for invalid JSON.

    Gateways send an empty object before the arguments, send all of them twice, as a JSON string, or as ``null`` or an
    empty list if there are none. Models write unescaped line breaks in strings.
    """
    values = _values(text)
    if len(values) == 1 and isinstance(values[0], str):
        values = _values(values[0])
    said = [value for value in values if value not in _NOTHING]
    if not said:
        return {}
    is_one = isinstance(said[0], dict) and all(value == said[0] for value in said)
    return cast("dict[str, object]", said[0]) if is_one else None


def _values(text: str) -> list[object]:
    """Parse a text of concatenated JSON values."""
    values: list[object] = []
    while rest := text.strip():
        if len(values) == MAX_VALUES:
            raise ValueError
        value, end = _DECODER.raw_decode(rest)
        values.append(value)
        text = rest[end:]
    return values


def resolved_name(requested: str, names: Collection[str]) -> str:
    """Resolve the tool's name: some models write ``functions.NAME``, or channel markers after the name."""
    name = _MARKER.split(requested, maxsplit=1)[0].strip()
    last = re.split(r"[.:/]", name)[-1]
    return next((known for known in (requested, name, last) if known in names), requested)


def _integer(digits: str) -> int | str | float:
    # Python refuses to parse longer integers.
    return int(digits) if len(digits) <= MAX_NUMBER_CHARS else digits[:MAX_NUMBER_CHARS]


_MARKER = re.compile(r"<\|")
_DECODER = json.JSONDecoder(parse_int=_integer, parse_constant=str, strict=False)
_NOTHING: tuple[object, ...] = ({}, [], None)


def _faults(error: ValidationError) -> str:
    """List the errors of the arguments, without repeating their values."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    if any(fault["loc"] == ("unparsed",) for fault in faults):
        return "the arguments are no JSON object"
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
