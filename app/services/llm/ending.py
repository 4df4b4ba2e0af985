"""The end of an answer, without what litellm does then for logs, caches and callbacks that nobody has here.

It builds the whole answer once more, in a thread, copies it deeply for a cache, and counts what it cost twice more for
its log. That took as long as all the rest of a short answer. What is needed of it is the provider's count of tokens,
which is taken from the chunks. Where a provider gave no whole count, or the model thought, litellm does it all.
"""

import importlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, cast

from app.services.llm.assembly import Answer, Tokens

Finish = Callable[..., Awaitable[object]]


class _Log(Protocol):
    """litellm's log of one call."""

    response_cost_calculator: Callable[..., float | None]
    _on_deferred_stream_complete: object


class _LibraryStream(Protocol):
    """The parts of litellm's stream that are used here."""

    chunks: Sequence[object]
    model: str
    sent_last_chunk: bool
    logging_obj: _Log
    _finalize_completed_stream: Finish


def leave_out_metadata() -> None:
    """Have no answer priced before any of it has come, which litellm does for its gateway's headers."""
    setattr(importlib.import_module("litellm.utils"), "update_response_metadata", _no_metadata)  # noqa: B010  a module has no such name to a type checker


def shorten_ending(stream: object, answer: Answer) -> None:
    """Have a stream end without its logging."""
    # Some providers' streams are other objects.
    if not hasattr(stream, "_finalize_completed_stream") or not hasattr(stream, "logging_obj"):
        return
    known = cast("_LibraryStream", stream)
    finish = known._finalize_completed_stream  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    log = known.logging_obj
    log.response_cost_calculator = _no_cost
    # Its gateway's guards take the answer from there instead of the log; here nobody does.
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
    """Nobody reads what it would be."""


def _no_cost(*_: object, **__: object) -> None:
    """Costs are counted once the answer is there, by ``usage``."""


def _told(stream: _LibraryStream) -> Tokens | None:
    """The provider's own count; ``None`` where it did not give all of it."""
    if not any(getattr(chunk, "usage", None) is not None for chunk in stream.chunks):
        return None
    builder = importlib.import_module("litellm.litellm_core_utils.streaming_chunk_builder_utils")
    processor = builder.ChunkProcessor(stream.chunks, None)
    usage = processor.calculate_usage(
        chunks=processor.chunks, model=stream.model, completion_output="", messages=None, reasoning_tokens=0
    )
    return usage if usage.prompt_tokens and usage.completion_tokens else None
