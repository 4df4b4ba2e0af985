"""The protocol of LLMs and its types, independent of any library.

The agent loop, the title service and their tests use these types; only this package converts them to a provider's
format.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pydantic import SecretStr

TITLE_TOKENS = 1024
"""Token limit of a title. It includes the thinking of reasoning models, for which 30 tokens would not suffice."""

OnText = Callable[[str], Awaitable[None]]
"""Is called with each delta of an answer's text, in order. The next delta is read when it returns (back-pressure)."""


class Role(StrEnum):
    """Roles of messages, with the values of OpenAI's chat format."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class RequestedCall:
    """A tool call of a model. ``arguments`` is the model's JSON text, which may be malformed.

    ``provider_fields`` are JSON fields that the provider added to the call and needs back unchanged.
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
    tool_calls: tuple[RequestedCall, ...] = ()
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
    """Tokens and cost of one call; ``cost_usd`` is ``None`` if the model's price is unknown."""

    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None

    def __add__(self, other: "Usage") -> "Usage":
        costs = (self.cost_usd, other.cost_usd)
        cost = None if None in costs else sum(cost or 0.0 for cost in costs)
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens, cost)


class Ending(StrEnum):
    """The reason why an answer ended."""

    WHOLE = "whole"
    """The model ended it."""
    CUT = "cut"
    """The answer reached the limit on its length."""
    FILTERED = "filtered"
    """The provider's content filter ended it."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A complete answer: its text, its tool calls in order, and its usage.

    ``provider_fields`` are reasoning and signatures, which some providers need back with the calls.
    """

    text: str
    tool_calls: tuple[RequestedCall, ...]
    usage: Usage
    ending: Ending = Ending.WHOLE
    provider_fields: Mapping[str, object] = field(default_factory=dict[str, object])

    @property
    def is_empty(self) -> bool:
        """Tell whether it has neither text nor tool calls."""
        return not self.tool_calls and not self.text.strip()


@dataclass(frozen=True, slots=True)
class Model:
    """A model from the caller's settings, such as ``openai/gpt-4o``, with the caller's own API key and base URL."""

    name: str
    api_key: SecretStr | None
    base_url: str | None


class LLM(Protocol):
    """A client of language models."""

    def is_ready(self, model_name: str) -> bool:
        """Tell whether a call of the model would start at once, without loading a library first."""
        ...

    def warm_up(self, model_name: str) -> None:
        """Start loading what calls of the model need, in the background. It does nothing if it is loaded already."""
        ...

    async def ready(self, model_name: str) -> None:
        """Wait until a call of the model would start at once."""
        ...

    async def close(self) -> None:
        """Close all connections."""
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
        """Call the model, and stream its answer: ``on_text`` is called with each delta of text.

        ``timeout_seconds`` shortens the configured timeout of the whole call. Raises ``LLMFailure``, and exceptions of
        ``on_text``. A cancelled call closes its connection at once.
        """
        ...

    def estimate(self, model: Model, messages: Sequence[ChatMessage], text: str) -> Usage:
        """Estimate locally the usage of a call of which only ``text`` has arrived."""
        ...

    async def context_tokens(self, model_name: str, base_url: str | None) -> int | None:
        """Return the size of the model's context window in tokens; ``None`` if it is unknown."""
        ...

    async def requires_api_key(self, model_name: str, base_url: str | None) -> bool:
        """Tell whether the provider needs an API key. Raises ``InvalidInput`` as ``validate`` does."""
        ...

    async def validate(self, model_name: str, base_url: str | None) -> None:
        """Raise ``InvalidInput`` if the name has no known provider, or one that this server does not call."""
        ...
