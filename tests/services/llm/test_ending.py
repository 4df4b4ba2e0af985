"""Counts and costs of an answer whose end is made without litellm's logging."""

import importlib
import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from app.services.llm.base import ChatMessage, Ending, Model, Role
from app.services.llm.litellm import LiteLLM
from tests.support.scripted_llm import Reply, ScriptedLLM, raw

HELLO = (ChatMessage(Role.USER, "Hello"),)
WHOLE: dict[str, Any] = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}


@contextmanager
def calls_noted() -> Generator[list[str]]:
    """What litellm does at the end of answers, by name."""
    litellm: Any = importlib.import_module("litellm")
    log: Any = importlib.import_module("litellm.litellm_core_utils.litellm_logging").Logging
    noted: list[str] = []
    build, handle = litellm.stream_chunk_builder, log.async_success_handler

    def built(*given: object, **options: object) -> object:
        noted.append("built")
        return build(*given, **options)

    async def handled(*given: object, **options: object) -> object:
        noted.append("logged")
        return await handle(*given, **options)

    litellm.stream_chunk_builder, log.async_success_handler = built, handled
    try:
        yield noted
    finally:
        litellm.stream_chunk_builder, log.async_success_handler = build, handle


def stream(*deltas: dict[str, object], usage: dict[str, Any] | None = None, model: str = "gpt-4o") -> Reply:
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model}
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    last: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": "stop"}
    chunks: list[object] = [{**head, "choices": [choice]} for choice in (*choices, last)]
    if usage is not None:
        chunks.append({**head, "choices": [], "usage": usage})
    events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return raw(f"{events}data: [DONE]\n\n".encode())


def model(server: ScriptedLLM, name: str = "openai/gpt-4o") -> Model:
    return Model(name, SecretStr("sk-key"), server.url)


async def test_an_answer_with_a_whole_count_is_neither_built_again_nor_logged(
    llm: LiteLLM, server: ScriptedLLM
) -> None:
    server.script(stream({"content": "Hi"}, usage=WHOLE))
    with calls_noted() as noted:
        answer = await llm.complete(model(server), HELLO)
    assert (answer.text, answer.ending, noted) == ("Hi", Ending.WHOLE, [])
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1000, 100)
    # 2.50 and 10.00 US dollars for a million tokens.
    assert answer.usage.cost_usd == pytest.approx(0.0035)


async def test_cached_tokens_cost_less(llm: LiteLLM, server: ScriptedLLM) -> None:
    server.script(stream({"content": "Hi"}, usage={**WHOLE, "prompt_tokens_details": {"cached_tokens": 800}}))
    answer = await llm.complete(model(server), HELLO)
    # Half of the price.
    assert answer.usage.cost_usd == pytest.approx(200 * 2.5e-6 + 800 * 1.25e-6 + 100 * 1e-5)


async def test_counts_that_come_piece_by_piece_are_put_together(llm: LiteLLM, server: ScriptedLLM) -> None:
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "content": [],
                "model": "claude-haiku-4-5",
                "usage": {
                    "input_tokens": 200,
                    "cache_read_input_tokens": 800,
                    "cache_creation_input_tokens": 0,
                    "output_tokens": 1,
                },
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 100}},
        {"type": "message_stop"},
    ]
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    server.script(raw(body.encode()))
    with calls_noted() as noted:
        answer = await llm.complete(model(server, "anthropic/claude-haiku-4-5"), HELLO)
    assert (answer.text, noted) == ("Hi", [])
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1000, 100)
    # 1 and 5 US dollars for a million tokens, 0.10 for cached ones.
    assert answer.usage.cost_usd == pytest.approx(200 * 1e-6 + 800 * 0.1e-6 + 100 * 5e-6)


@pytest.mark.parametrize(
    ("delta", "usage"),
    [
        ({"content": "Good morning"}, None),
        ({"content": "Good morning"}, {"prompt_tokens": 8, "completion_tokens": 0, "total_tokens": 8}),
        ({"content": "Good morning", "reasoning_content": "Let me see"}, WHOLE),
    ],
)
async def test_what_the_chunks_do_not_tell_is_counted_as_before(
    llm: LiteLLM, server: ScriptedLLM, delta: dict[str, object], usage: dict[str, Any] | None
) -> None:
    server.script(stream(delta, usage=usage))
    with calls_noted() as noted:
        answer = await llm.complete(model(server), HELLO)
    assert set(noted) == {"built"}
    assert answer.text == "Good morning"
    assert answer.usage.prompt_tokens > 0


async def test_calls_of_tools_end_in_the_same_way(llm: LiteLLM, server: ScriptedLLM) -> None:
    function = {"name": "run", "arguments": '{"command": "ls"}'}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    server.script(stream({"tool_calls": [call]}, usage=WHOLE))
    with calls_noted() as noted:
        answer = await llm.complete(model(server), HELLO)
    assert ([(each.id, each.name, each.arguments) for each in answer.tool_calls], noted) == (
        [("call_1", "run", '{"command": "ls"}')],
        [],
    )
    assert answer.usage.completion_tokens == 100
