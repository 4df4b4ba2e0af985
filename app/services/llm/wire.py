"""OpenAI's chat format, which litellm uses for all providers: builds requests, and reads the ends of streams."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from inspect import isasyncgen
from typing import Any, Protocol, cast

from app.errors import ErrorCode
from app.services.llm.assembly import Answer, Chunk
from app.services.llm.base import ChatMessage, Ending, RequestedCall, ToolSpec
from app.services.llm.faults import BROKE_OFF, CallFailed, fault
from app.services.llm.providers import Route

# Sent if the caller has no key: without any, litellm would look for one in the server's environment.
NO_KEY = "none"
MAX_JOINED_CHARS = 4_000
_COMPARED = 2
_BESIDE_TEXT = (
    *("tool_calls", "function_call", "reasoning_content", "reasoning_items", "thinking_blocks"),
    *("audio", "images", "annotations", "provider_specific_fields"),
)


class JoinedChunks(list[Chunk]):
    """A stream's chunks, in which consecutive texts are joined, except the last two chunks, which litellm compares.

    A chunk consists of some twenty objects. With a hundred streams, the garbage collector traversed thousands more each
    second, without any to collect, and blocked all requests for 5 to 12 ms each time.
    """

    def append(self, chunk: Chunk) -> None:
        """Append a chunk, and join the one that is now third from the end to the text before it."""
        super().append(chunk)
        if len(self) > _COMPARED + 1:
            text, following = _text_of(self[-_COMPARED - 2]), _text_of(self[-_COMPARED - 1])
            if text and following and len(text) + len(following) <= MAX_JOINED_CHARS:
                self[-_COMPARED - 2].choices[0].delta.content = text + following
                del self[-_COMPARED - 1]


def _text_of(chunk: Chunk) -> str | None:
    """Return a chunk's text; ``None`` if it has anything else."""
    if len(chunk.choices) != 1 or getattr(chunk, "usage", None) is not None:
        return None
    choice = chunk.choices[0]
    has_more = getattr(choice, "finish_reason", None) or any(getattr(choice.delta, name, None) for name in _BESIDE_TEXT)
    return None if has_more else choice.delta.content


class Stream(Protocol):
    """litellm's stream. Its last chunk always has a finish reason; the attributes have the provider's own."""

    received_finish_reason: str | None
    intermittent_finish_reason: str | None
    chunks: list[Chunk]
    """All chunks so far. litellm counts their tokens if the provider does not, and detects answers that repeat."""

    def __aiter__(self) -> AsyncIterator[Chunk]: ...

    async def aclose(self) -> None:
        """Close the connection without reading the rest."""
        ...


def stream_of(answering: object) -> Stream:
    """Return litellm's stream, with ``JoinedChunks`` as its list of chunks."""
    is_bare = isasyncgen(answering)
    stream = _Followed(cast("AsyncGenerator[Chunk, Any]", answering)) if is_bare else cast("Stream", answering)
    stream.chunks = JoinedChunks(stream.chunks)
    return stream


class _Followed:
    """Wraps the generator that litellm returns for text completions, and records the finish reason."""

    def __init__(self, pieces: AsyncGenerator[Chunk, Any]) -> None:
        self.received_finish_reason: str | None = None
        self.intermittent_finish_reason: str | None = None
        self.chunks: list[Chunk] = []
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        async for chunk in self._pieces:
            reasons = [getattr(choice, "finish_reason", None) for choice in chunk.choices]
            self.received_finish_reason = next(filter(None, reasons), self.received_finish_reason)
            yield chunk

    async def aclose(self) -> None:
        """Close the connection without reading the rest."""
        await self._pieces.aclose()


def request_of(
    target: Route,
    key: str | None,
    base_url: str | None,
    messages: Sequence[ChatMessage],
    *,
    tools: Sequence[ToolSpec],
    max_tokens: int | None,
) -> dict[str, object]:
    """Build the arguments of one streaming call."""
    request: dict[str, object] = {
        "model": target.name,
        "messages": [_message(message) for message in messages],
        "api_key": key or NO_KEY,
        "stream": True,
        "stream_options": {"include_usage": True},
        "num_retries": 0,
        "max_retries": 0,
    }
    if base_url:
        request["api_base"] = base_url
    if max_tokens is not None:
        request["max_tokens"] = max_tokens
    if tools:
        request["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
            }
            for tool in tools
        ]
        # Spares litellm a look for tools of its MCP gateway, which needs a package more.
        request["_skip_mcp_handler"] = True
    return request


def _message(message: ChatMessage) -> dict[str, object]:
    sent: dict[str, object] = {"role": message.role.value, "content": message.text}
    if message.image_urls:
        text = [{"type": "text", "text": message.text}] if message.text else []
        sent["content"] = [*text, *({"type": "image_url", "image_url": {"url": url}} for url in message.image_urls)]
    if message.tool_calls:
        sent["content"] = message.text or None
        sent["tool_calls"] = [_call(call) for call in message.tool_calls]
        sent |= message.provider_fields
    if message.tool_call_id is not None:
        sent["tool_call_id"] = message.tool_call_id
    return sent


def _call(call: RequestedCall) -> dict[str, object]:
    function = {"name": call.name, "arguments": call.arguments}
    return {**call.provider_fields, "id": call.id, "type": "function", "function": function}


def ending_of(stream: Stream, answer: Answer) -> Ending:
    """Convert the provider's own finish reason. Raises ``CallFailed`` if there is none, or the provider refused."""
    reason = stream.received_finish_reason or stream.intermittent_finish_reason
    if reason is None:
        raise CallFailed(fault(BROKE_OFF, ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE, is_transient=True))
    if reason == "content_filter" and not answer.text:
        message, code = (
            "The model's provider declined the content.",
            ErrorCode.STATUS_ERROR_LLM_CONTENT_POLICY_VIOLATION,
        )
        raise CallFailed(fault(message, code))
    return {"content_filter": Ending.FILTERED, "length": Ending.CUT}.get(reason, Ending.WHOLE)
