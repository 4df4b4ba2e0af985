"""How much may come back from a model's server that nobody knows: everything has a bound."""

import gzip
import re
import time
from dataclasses import replace

import pytest
from pydantic import SecretStr

from app.config import Config
from app.errors import ErrorCode, LLMFailure
from app.services.llm.base import Model
from app.services.llm.faults import MAX_MESSAGE_CHARS
from app.services.llm.litellm import LiteLLM
from app.services.llm.transport import (
    MAX_ANSWER_BYTES,
    MAX_ANSWER_LINES,
    MAX_LINE_BYTES,
)
from tests.support.model_calls import HELLO, answer_of, failure_of
from tests.support.scripted_llm import ScriptedLLM, deltas, drip, fragment, raw

EVENT = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":%s}]}\n\n'
)
SAID = EVENT % b'{"content":"Hello"}'
END = b"\n\n"
TOO_MUCH = "A part of the model's answer has too much in it."
THOUGHT = EVENT % (b'{"reasoning_content":"' + b"x" * 1_000_000 + b'"}')


@pytest.mark.parametrize("provider", ["openai", "deepseek", "groq"])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            SAID + (b": " + b"x" * 1_000_000 + END) * 40,
            f"The model's answer is larger than {MAX_ANSWER_BYTES // 2**20} MiB.",
        ),
        (SAID + THOUGHT * 40, "The model's answer is too long."),
        (SAID + b"\n" * 600_000, f"The model's answer has more than {MAX_ANSWER_LINES:,} lines."),
        (
            SAID + b"data: " + b"x" * 5_000_000,
            f"A line of the model's answer is longer than {MAX_LINE_BYTES // 2**20} MiB.",
        ),
        (EVENT % (b'{"tool_calls":[' + b"{}," * 2000 + b"{}]}") + END, "The model asked for too many tools at once."),
        (EVENT % (b'{"tool_calls":[' + b"{}," * 300_000 + b"{}]}") + END, TOO_MUCH),
        (SAID + b'data: {"choices":[' + b"{}," * 20_000 + b"{}]}" + END, TOO_MUCH),
        (SAID + b"data: {" + b",".join(b'"%d":1' % number for number in range(20_000)) + b"}" + END, TOO_MUCH),
        (SAID + b"data:\n" * 100_000 + END, "An event of the model's answer has more than 1,000 lines."),
        (b'{"choices":[' + b"{}," * 300_000, TOO_MUCH),
        (b'{"choices":[]}\n' * 20_000, "The model's answer has more than 10,000 lines."),
    ],
    ids=[
        "bytes",
        "reasoning",
        "lines",
        "line",
        "calls",
        "calls at once",
        "choices",
        "keys",
        "event",
        "whole",
        "wholes",
    ],
)
async def test_an_answer_without_end_ends_with_a_reason(
    llm: LiteLLM, server: ScriptedLLM, provider: str, body: bytes, reason: str
) -> None:
    server.script(*[raw(body)] * 3)
    failure = await failure_of(llm, f"{provider}/model", server.url)
    assert failure.message == reason
    assert len(server.requests) == 1


@pytest.mark.parametrize("provider", ["openai", "deepseek", "anthropic"])
async def test_a_compressed_answer_is_refused(llm: LiteLLM, server: ScriptedLLM, provider: str) -> None:
    bomb = raw(gzip.compress(b"\n" * 50_000_000))
    server.script(*[replace(bomb, headers={**bomb.headers, "content-encoding": "gzip"})] * 3)
    failure = await failure_of(llm, f"{provider}/model", server.url)
    assert failure.message == "The model's server answers compressed, although it was asked not to."
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("provider", ["openai", "deepseek", "anthropic"])
async def test_of_an_errors_body_the_beginning_is_read(llm: LiteLLM, server: ScriptedLLM, provider: str) -> None:
    server.script(*[replace(raw(b"w" * 40_000_000, "text/plain"), status=400)] * 3)
    began = time.process_time()
    failure = await failure_of(llm, f"{provider}/model", server.url)
    assert len(failure.message) <= MAX_MESSAGE_CHARS
    assert failure.message.startswith("The model's provider rejected the request.")
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize("provider", ["openai", "deepseek", "groq", "openrouter", "mistral", "hosted_vllm"])
async def test_a_fractional_count_of_tokens_costs_no_answer(llm: LiteLLM, server: ScriptedLLM, provider: str) -> None:
    usage = {"prompt_tokens": 11.5, "completion_tokens": "7", "total_tokens": 18.5}
    server.script(deltas({"content": "Good "}, {"content": "morning"}, usage=usage))
    answer = await answer_of(llm, f"{provider}/model", server.url)
    assert answer.text == "Good morning"
    # This one's client in the library asks for no counts.
    expected = (8, 2) if provider == "mistral" else (11, 7)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == expected


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("provider", ["openai", "deepseek", "anthropic", "ollama_chat"])
@pytest.mark.parametrize(("idle", "total"), [(0.2, 30.0), (30.0, 0.2)])
async def test_a_byte_now_and_then_is_no_progress(
    server: ScriptedLLM, provider: str, status: int, idle: float, total: float
) -> None:
    config = Config(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        llm_private_base_urls=True,
        llm_timeout_seconds=idle,
        llm_answer_timeout_seconds=total,
    )
    llm = LiteLLM(config, retry_pause_seconds=0.001)
    await llm.ready("openai/gpt-4o")
    server.script(replace(drip(b":" * 10_000, 0.02), status=status))

    failure = await failure_of(llm, f"{provider}/model", server.url)

    assert failure.message == "The model did not answer in time."
    assert failure.code is ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE
    await server.requests[0].client_left()
    await llm.close()


@pytest.mark.parametrize("provider", ["openai", "deepseek", "groq"])
async def test_a_tools_name_without_end_is_cut(llm: LiteLLM, server: ScriptedLLM, provider: str) -> None:
    pieces = [fragment(0, "c1", "x" * 100_000, "-")] * 50
    server.script(deltas(fragment(0, "c1", "n", ""), *pieces, fragment(0, "c1", "-", "{}")))
    answer = await answer_of(llm, f"{provider}/model", server.url)
    assert [(call.name[:2], len(call.name)) for call in answer.tool_calls] == [("nx", 1000)]


@pytest.mark.parametrize("provider", ["openai", "deepseek", "anthropic", "ollama_chat"])
@pytest.mark.parametrize("max_tokens", [None, 30])
async def test_a_whole_answer_without_end_ends_with_a_reason(
    llm: LiteLLM, server: ScriptedLLM, provider: str, max_tokens: int | None
) -> None:
    # A title has the same way to the model as an answer, with a few tokens.
    body = b'{"choices": [{"message": {"content": "' + b"x" * (MAX_ANSWER_BYTES + 1) + b'"}}]}'
    server.script(*[raw(body, "application/json")] * 3)
    with pytest.raises(LLMFailure) as caught:
        await llm.complete(
            Model(f"{provider}/model", SecretStr("sk-of-the-caller"), server.url), HELLO, max_tokens=max_tokens
        )
    assert re.fullmatch(
        r"(The model's (answer is (larger than 32 MiB|too long)|server .*)|A line of .* than 1 MiB)\.( The .*)?",
        caught.value.message,
    )
