"""Assembles an answer from a stream's chunks: text, fragments of tool calls, and fields that a provider needs back.

Servers differ in how they send fragments of calls: some give every call the index 0, repeat id or name in each
fragment, split names, or leave out ids. A fragment is assigned by a known id, else by the index, else to the last call.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from app.errors import ErrorCode
from app.services.llm.argument_pieces import ArgumentPieces
from app.services.llm.base import Ending, RequestedCall
from app.services.llm.faults import CallFailed, fault

MAX_ANSWER_CHARS = 2_000_000
MAX_TOOL_CALLS = 128
MAX_NAME_CHARS = 1000
MAX_ID_CHARS = 20_000
MAX_FIELDS_CHARS = 262_144
_CALL_FIELDS = frozenset({"id", "index", "type", "function", "custom"})


class FunctionDelta(Protocol):
    """The name and arguments in a fragment of a call."""

    name: str | None
    arguments: str | None


class CallFragment(Protocol):
    """A fragment of a tool call."""

    index: int | None
    id: str | None
    function: FunctionDelta | None


class Delta(Protocol):
    """The content of a chunk, added to the answer."""

    content: str | None
    tool_calls: Sequence[CallFragment] | None


class Choice(Protocol):
    """One of several answers in OpenAI's format; only one is requested."""

    delta: Delta


class Tokens(Protocol):
    """A provider's token counts."""

    prompt_tokens: int | None
    completion_tokens: int | None


class Chunk(Protocol):
    """One event of a stream."""

    choices: Sequence[Choice]


@dataclass(slots=True)
class _Call:
    """A call under assembly. ``fields`` are the provider's own, such as a thought signature."""

    id: str | None
    name: str = ""
    arguments: ArgumentPieces = field(default_factory=ArgumentPieces)
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    index: int = 0

    def add_name(self, name: str) -> None:
        """Add to the name: some servers split it, others send the whole name so far in each fragment."""
        if name.startswith(self.name):
            self.name = name
        elif name != self.name and not self.name.startswith(name):
            self.name += name
        self.name = self.name[:MAX_NAME_CHARS]


@dataclass(slots=True)
class Answer:
    """The answer of one attempt, as far as it has arrived. ``tool_names`` are the tools that the model was offered."""

    tool_names: frozenset[str] = frozenset()
    text: list[str] = field(default_factory=list[str])
    tokens: Tokens | None = None
    chars: int = 0
    has_reasoning: bool = False
    ending: Ending = Ending.WHOLE
    _calls: list[_Call] = field(default_factory=list[_Call])
    _by_id: dict[str, _Call] = field(default_factory=dict[str, _Call])
    _by_index: dict[int, _Call] = field(default_factory=dict[int, _Call])
    _reasoning: list[str] = field(default_factory=list[str])
    _thoughts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    _details: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def calls(self) -> list[RequestedCall]:
        """The calls in order. Those without a name are left out; missing ids are generated."""
        named = [call for call in self._calls if call.name.strip()]
        return [
            RequestedCall(call.id or f"call_{number}", call.name.strip(), call.arguments.text, _bounded(call.fields))
            for number, call in enumerate(named, 1)
        ]

    @property
    def provider_fields(self) -> Mapping[str, object]:
        """Reasoning and signatures that the provider needs back unchanged with this answer's calls."""
        fields: dict[str, object] = {}
        if self._reasoning:
            fields["reasoning_content"] = "".join(self._reasoning)
        if self._thoughts:
            fields["thinking_blocks"] = self._thoughts
        if self._details:
            fields["reasoning_details"] = self._details
        return _bounded(fields)

    def add_text(self, piece: str) -> None:
        """Append text, and check the limit on an answer's length."""
        self.text.append(piece)
        self._count(len(piece))

    def add_call(self, delta: CallFragment) -> None:
        """Add a fragment to its call, or to a new one."""
        call_id = (delta.id or "").strip()[:MAX_ID_CHARS] or None
        name = (delta.function.name if delta.function else None) or ""
        arguments = (delta.function.arguments if delta.function else None) or ""
        index = delta.index or 0
        call = self._call_of(call_id, index, name, arguments)
        if call_id is not None or name:
            self._by_index[index] = call
        if call_id is not None:
            call.id = call.id or call_id
            self._by_id[call_id] = call
        if name:
            call.add_name(name)
        if arguments:
            self._count(call.arguments.add(arguments))
        for key, value in _fields(delta).items():
            if key not in _CALL_FIELDS and value is not None:
                call.fields[key] = value
                self._count(len(str(value)))

    def add_reasoning(self, delta: Delta) -> None:
        """Keep the model's reasoning in the form in which its provider needs it back."""
        fields = _fields(delta)
        reasoning = fields.get("reasoning_content")
        if isinstance(reasoning, str) and reasoning:
            self.has_reasoning = True
            self._count(len(reasoning))
            # litellm copies `reasoning` to this field too, and no provider needs that back.
            if not fields.get("reasoning"):
                self._reasoning.append(reasoning)
        for name, kept in (("thinking_blocks", self._thoughts), ("reasoning_details", self._details)):
            for piece in cast("Sequence[object]", fields.get(name) or ()):
                if isinstance(piece, Mapping):
                    self.has_reasoning = True
                    self._count(len(str(cast("object", piece))))
                    _add_thought(kept, cast("Mapping[str, Any]", piece))

    def _call_of(self, call_id: str | None, index: int, name: str, arguments: str) -> _Call:
        known = self._by_id.get(call_id) if call_id is not None else None
        if known is not None:
            # Some servers give all calls of an answer the same id. Then the index distinguishes them.
            beside = self._by_index.get(index)
            known = beside if beside is not None and beside.id == call_id else known
            # Some servers repeat the whole call at the end, perhaps without its index.
            is_new_place = index != known.index and (beside is None or beside is known)
            if not is_new_place and name in ("", known.name) and known.arguments.is_repeated_by(arguments):
                return known
            is_twin = index != known.index and not known.arguments.has_any and not arguments.strip()
            is_elsewhere = index != known.index and bool(known.name) and name != known.name
            is_behind = known.arguments.is_complete and (
                index != known.index or bool(arguments.strip()) or not known.name.startswith(name.strip())
            )
            is_offered = index == known.index and not name.startswith(known.name) and self._begins(known, name, "")
            # The rest of a split name, while the arguments are still empty.
            is_rest = known.name + name in self.tool_names
            is_another = bool(name) and not is_rest and (is_elsewhere or is_behind or is_offered or is_twin)
            return self._begin(call_id, index) if is_another else known
        call = self._by_index.get(index)
        if call is None:
            # A fragment with neither id nor name belongs to the last call if its index is unknown.
            if call_id is None and not name and self._calls:
                return self._calls[-1]
            return self._begin(call_id, index)
        if call_id is None and not name and arguments.strip() and call.arguments.is_complete:
            # Nothing can follow complete arguments. Some servers give all fragments but the first the index 0.
            return call if self._calls[-1].arguments.is_complete else self._calls[-1]
        is_new = self._begins(call, name, arguments) if call_id is None else self._begins_with_id(call, name, arguments)
        return self._begin(call_id, index) if is_new else call

    def _begins(self, call: _Call, name: str, arguments: str) -> bool:
        """Tell whether a fragment without an id starts a new call, rather than continuing the one at its index."""
        if not name or not call.name:
            return False
        if not call.arguments.has_any:
            return name != call.name and {name, call.name} <= self.tool_names
        if call.arguments.is_complete:
            return bool(arguments.strip()) or name != call.name
        return name != call.name and name in self.tool_names

    @staticmethod
    def _begins_with_id(call: _Call, name: str, arguments: str) -> bool:
        """Tell whether a fragment with a new id starts a new call, rather than continuing the one at its index."""
        # The id may come after the name, and some servers generate a new id for each fragment of a call.
        if name:
            is_middle = bool(arguments.strip()) and not arguments.lstrip().startswith("{")
            if is_middle and name == call.name and call.arguments.has_any and not call.arguments.is_complete:
                return False
            return call.id is not None or call.arguments.is_complete
        return call.id is not None and (call.arguments.is_complete or not call.name)

    def _begin(self, call_id: str | None, index: int) -> _Call:
        if len(self._calls) >= MAX_TOOL_CALLS:
            message = f"The model asked for more than {MAX_TOOL_CALLS} tools at once."
            raise CallFailed(fault(message, ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR))
        self._calls.append(_Call(call_id, index=index))
        return self._calls[-1]

    def _count(self, chars: int) -> None:
        self.chars += chars
        if self.chars > MAX_ANSWER_CHARS:
            raise CallFailed(fault("The model's answer is too long.", ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR))


def take(chunk: Chunk, answer: Answer) -> str:
    """Add a chunk to the answer, and return its text, or ""."""
    tokens: Tokens | None = getattr(chunk, "usage", None)
    if tokens is not None:
        answer.tokens = tokens
    if not chunk.choices:
        return ""
    delta = chunk.choices[0].delta
    answer.add_reasoning(delta)
    for call in delta.tool_calls or ():
        answer.add_call(call)
    piece = delta.content or ""
    if piece:
        answer.add_text(piece)
    return piece


def _fields(value: object) -> dict[str, Any]:
    """Return a delta's fields, including those that litellm does not know."""
    declared = cast("dict[str, Any]", getattr(value, "__dict__", {}))
    return {**declared, **cast("dict[str, Any]", getattr(value, "__pydantic_extra__", None) or {})}


def _add_thought(kept: list[dict[str, Any]], piece: Mapping[str, Any]) -> None:
    """Join a fragment to the last thinking block, unless that is signed already or of another type."""
    last = kept[-1] if kept else None
    is_same = last is not None and all(
        last.get(name) == piece.get(name) for name in ("type", "index", "id") if piece.get(name) is not None
    )
    if last is None or not is_same or last.get("signature") or last.get("data"):
        kept.append(dict(piece))
        return
    for name, value in piece.items():
        if name in ("thinking", "text", "summary") and isinstance(value, str):
            last[name] = f"{last.get(name) or ''}{value}"
        elif value is not None:
            last[name] = value


def _bounded(fields: Mapping[str, Any]) -> Mapping[str, object]:
    """Copy fields as plain JSON; empty if they are too large or not JSON."""
    try:
        text = json.dumps(fields, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", json.loads(text)) if len(text) <= MAX_FIELDS_CHARS else {}
