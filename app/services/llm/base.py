"""What is said to a model and what it answers, free of any LLM library.

The agent loop, the title service and their tests build on these values; only the files of the LLM service turn them
into a provider's terms.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pydantic import SecretStr

TITLE_TOKENS = 1024
"""The room for a title. Reasoning models think in it before they answer, and 30 tokens end in the middle of that."""

OnText = Callable[[str], Awaitable[None]]
"""Takes each piece of an answer's text, in order. The next piece is read when it returns, so it must not stall."""


class Role(StrEnum):
    """Who speaks. The values are those of the OpenAI chat format."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks for a tool. ``arguments`` is the JSON text as the model gave it: it may be malformed.

    ``provider_fields`` are what the provider adds to the call and wants back unchanged, as JSON.
    """

    id: str
    name: str
    arguments: str
    provider_fields: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of the history.

    ``image_urls`` are ``https:`` or ``data:`` URLs and belong to user messages; ``tool_calls`` belong to assistant
    messages; ``tool_call_id`` names the call that a tool message answers. ``provider_fields`` go back with the calls.
    """

    role: Role
    text: str = ""
    image_urls: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    provider_fields: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the model may call. ``parameters`` is a JSON Schema of type ``object``."""

    name: str
    description: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call took. Counts are tokens; ``cost_usd`` is None where the model's price is unknown."""

    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None

    def __add__(self, other: "Usage") -> "Usage":
        costs = (self.cost_usd, other.cost_usd)
        cost = None if None in costs else sum(cost or 0.0 for cost in costs)
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens, cost)


class Ending(StrEnum):
    """How an answer ended."""

    WHOLE = "whole"
    """As the model meant it."""
    CUT = "cut"
    """At the limit on its length."""
    FILTERED = "filtered"
    """By the provider's filter of contents."""


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer: its text, the tools it asks for in order, and what it took.

    ``provider_fields``: the model's reasoning and its signatures, which some providers want back with the calls.
    """

    text: str
    tool_calls: tuple[ToolCall, ...]
    usage: Usage
    ending: Ending = Ending.WHOLE
    provider_fields: Mapping[str, object] = field(default_factory=dict[str, object])

    @property
    def is_empty(self) -> bool:
        """Whether it neither says nor asks for anything."""
        return not self.tool_calls and not self.text.strip()


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the caller's settings name it, e.g. ``openai/gpt-4o``, with the caller's own key and address."""

    name: str
    api_key: SecretStr | None
    base_url: str | None


class LLM(Protocol):
    """Answers a history of messages."""

    def is_ready(self, model_name: str) -> bool:
        """Whether a call of the model would begin at once."""
        ...

    def warm_up(self, model_name: str) -> None:
        """Begin to get ready for calls of the model, in the background. Where nothing is to be done this is free."""
        ...

    async def ready(self, model_name: str) -> None:
        """Wait until a call of the model would begin at once."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...

    async def complete(
        self,
        model: Model,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[ToolSpec] = (),
        max_tokens: int | None = None,
        timeout_seconds: float | None = None,
        on_text: OnText | None = None,
    ) -> Completion:
        """Ask the model and stream its answer: ``on_text`` gets every piece of text as it arrives.

        ``timeout_seconds`` shortens the configured limit of the whole call. Raises ``LLMFailure``; what ``on_text``
        raises passes through. A cancelled call closes its connection at once.
        """
        ...

    def estimate(self, model: Model, messages: Sequence[ChatMessage], text: str) -> Usage:
        """About what a call took of which only ``text`` has come, told without asking anybody."""
        ...

    async def context_tokens(self, model_name: str, base_url: str | None) -> int | None:
        """How many tokens the model takes in, where that is known."""
        ...

    async def requires_api_key(self, model_name: str, base_url: str | None) -> bool:
        """Whether a call without a key can't succeed. Raises ``InvalidInput`` as ``validate`` does."""
        ...

    async def validate(self, model_name: str, base_url: str | None) -> None:
        """Raise ``InvalidInput`` where no provider can be told from the name, or this server does not call it."""
        ...
