"""Shortens litellm's work at the end of a stream, which it does for logs, caches and callbacks that Parley has not.

litellm builds the whole answer once more, in a thread, makes a deep copy for a cache, and computes the costs twice for
its log. This takes as long as the rest of a short answer. Only the provider's token counts are needed, which the chunks
have. If a count is missing, or the answer has reasoning, litellm's own final step runs.
"""

import importlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, cast

from app.services.llm.assembly import Answer, Tokens

Finish = Callable[..., Awaitable[object]]


class _Log(Protocol):
    """The attributes of litellm's logging object that are used here."""

    response_cost_calculator: Callable[..., float | None]
    _on_deferred_stream_complete: object


class _LibraryStream(Protocol):
    """The attributes of litellm's stream that are used here."""

    chunks: Sequence[object]
    model: str
    sent_last_chunk: bool
    logging_obj: _Log
    _finalize_completed_stream: Finish


def leave_out_metadata() -> None:
    """Replace a function with which litellm computes a price before the answer, for headers of its gateway."""
    setattr(importlib.import_module("litellm.utils"), "update_response_metadata", _no_metadata)  # noqa: B010  a module has no such name to a type checker


def shorten_ending(stream: object, answer: Answer) -> None:
    """Replace the stream's final step by one without logging, if the token counts are known."""
    # Some providers' streams are of other types.
    if not hasattr(stream, "_finalize_completed_stream") or not hasattr(stream, "logging_obj"):
        return
    known = cast("_LibraryStream", stream)
    finish = known._finalize_completed_stream  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    log = known.logging_obj
    log.response_cost_calculator = _no_cost
    # With this, litellm leaves the logging to its gateway, which Parley does not use.
    log._on_deferred_stream_complete = True  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    async def ended(**options: Any) -> object:  # noqa: ANN401  litellm's own.
        if known.sent_last_chunk and not answer.has_reasoning:
            tokens = answer.tokens or _told(known)
            if tokens is not None:
                answer.tokens = tokens
                raise StopAsyncIteration
        return await finish(**options)

    known._finalize_completed_stream = ended  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _no_metadata(*_: object, **__: object) -> None:
    """Stand in for litellm's function; nothing uses the metadata."""


def _no_cost(*_: object, **__: object) -> None:
    """Stand in for litellm's function; the module ``usage`` computes the costs."""


def _told(stream: _LibraryStream) -> Tokens | None:
    """Return the provider's token counts; ``None`` if any is missing."""
    if not any(getattr(chunk, "usage", None) is not None for chunk in stream.chunks):
        return None
    builder = importlib.import_module("litellm.litellm_core_utils.streaming_chunk_builder_utils")
    processor = builder.ChunkProcessor(stream.chunks, None)
    usage = processor.calculate_usage(
        chunks=processor.chunks, model=stream.model, completion_output="", messages=None, reasoning_tokens=0
    )
    return usage if usage.prompt_tokens and usage.completion_tokens else None
