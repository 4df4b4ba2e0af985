"""Models called through litellm over HTTP: streaming, tools, usage, faults, keys, cancellation."""

import asyncio
import base64
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import cast

import pytest
from pydantic import SecretStr

from app.config import Config
from app.errors import ErrorCode, LLMFailure
from app.services.llm.base import ChatMessage, Completion, Model, RequestedCall, Role, ToolSpec, Usage
from app.services.llm.faults import MAX_MESSAGE_CHARS
from app.services.llm.gathering import INTERVAL_SECONDS
from app.services.llm.litellm import LiteLLM
from app.services.pacing import Pacing
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import Call, Gate, Reply, ScriptedLLM, cut, error, hold, never, text, tools, unfinished

KEY = "sk-the-callers-own-key"
HELLO = (ChatMessage(Role.USER, "Hello"),)
RUN = ToolSpec("run", "Run a command.", {"type": "object", "properties": {"command": {"type": "string"}}})


@pytest.fixture
async def hasty() -> AsyncIterator[LiteLLM]:
    """Waits a fifth of a second for the next piece, and one second in all."""
    config = Config(_env_file=None, llm_timeout_seconds=0.2, llm_answer_timeout_seconds=1.0)  # pyright: ignore[reportCallIssue]
    service = LiteLLM(config, retry_pause_seconds=0.001)
    await service.ready("openai/gpt-4o")
    yield service
    await service.close()


def model(server: ScriptedLLM, name: str = "openai/gpt-4o", key: str | None = KEY) -> Model:
    return Model(name, SecretStr(key) if key is not None else None, server.url)


async def failure_of(llm: LiteLLM, server: ScriptedLLM, *replies: Reply) -> LLMFailure:
    server.script(*replies)
    with pytest.raises(LLMFailure) as caught:
        await llm.complete(model(server), HELLO)
    return caught.value


def sent(server: ScriptedLLM) -> Sequence[Mapping[str, object]]:
    return cast("Sequence[Mapping[str, object]]", server.requests[-1].body["messages"])


async def test_an_answer_streams_in_pieces_and_comes_back_whole(llm: LiteLLM, server: ScriptedLLM) -> None:
    server.script(text("Good ", "morn", "ing", usage=(100, 10)))
    heard: list[str] = []

    async def on_text(piece: str) -> None:
        heard.append(piece)

    answer = await llm.complete(model(server), HELLO, on_text=on_text)

    # Those that come together are one piece.
    assert "".join(heard) == "Good morning"
    # gpt-4o costs 2.50 and 10.00 US dollars for a million tokens.
    assert answer == Completion("Good morning", (), Usage(100, 10, answer.usage.cost_usd))
    assert answer.usage.cost_usd == pytest.approx(0.00035)


async def test_the_request_holds_the_model_the_history_and_the_callers_key(llm: LiteLLM, server: ScriptedLLM) -> None:
    history = (
        ChatMessage(Role.SYSTEM, "Be brief."),
        ChatMessage(Role.USER, "List the files."),
        ChatMessage(Role.ASSISTANT, "", tool_calls=(RequestedCall("call_9", "run", '{"command":"ls"}'),)),
        ChatMessage(Role.TOOL, "a.txt", tool_call_id="call_9"),
    )

    await llm.complete(model(server, "openai/some/model"), history, max_tokens=50)

    request = server.requests[-1]
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body["model"] == "some/model"
    assert request.body["max_tokens"] == 50
    assert "tools" not in request.body
    call = {"id": "call_9", "type": "function", "function": {"name": "run", "arguments": '{"command":"ls"}'}}
    assert sent(server) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "List the files."},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "a.txt", "tool_call_id": "call_9"},
    ]


async def test_a_model_without_a_known_provider_goes_to_the_base_url_under_its_own_name(
    llm: LiteLLM, server: ScriptedLLM
) -> None:
    await llm.complete(model(server, "meta-llama/Llama-3.1-8B", None), HELLO)

    assert server.requests[-1].body["model"] == "meta-llama/Llama-3.1-8B"


async def test_images_are_sent_as_parts_after_the_text(llm: LiteLLM, server: ScriptedLLM) -> None:
    pixel = "data:image/png;base64," + base64.b64encode(b"not really a picture").decode()
    urls = ("https://example.com/cat.png", pixel)

    await llm.complete(model(server), (ChatMessage(Role.USER, "What is this?", urls),))
    await llm.complete(model(server), (ChatMessage(Role.USER, "", urls[:1]),))

    first, second = (cast("Sequence[Mapping[str, object]]", each.body["messages"])[0] for each in server.requests)
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    assert first["content"] == [{"type": "text", "text": "What is this?"}, *images]
    assert second["content"] == images[:1]


async def test_tool_calls_are_put_together_from_their_fragments(llm: LiteLLM, server: ScriptedLLM) -> None:
    calls = (Call("run", '{"command": "ls -la /workspace"}', "call_a"), Call("run", '{"command"', "call_b"))
    server.script(tools(*calls, said=["Let me look."]))

    answer = await llm.complete(model(server), HELLO, tools=(RUN,))

    assert answer.text == "Let me look."
    assert answer.tool_calls == (
        RequestedCall("call_a", "run", '{"command": "ls -la /workspace"}'),
        RequestedCall("call_b", "run", '{"command"'),
    )
    function = {"name": "run", "description": "Run a command.", "parameters": dict(RUN.parameters)}
    assert server.requests[-1].body["tools"] == [{"type": "function", "function": function}]


async def test_the_cost_of_a_model_without_a_known_price_is_unknown(llm: LiteLLM, server: ScriptedLLM) -> None:
    server.script(text("Hi", usage=(3, 4)))

    answer = await llm.complete(model(server, "openai/home-made"), HELLO)

    assert answer.usage == Usage(3, 4, None)


async def test_tokens_are_counted_here_when_the_provider_sends_no_usage(llm: LiteLLM, server: ScriptedLLM) -> None:
    server.script(text("Good morning", usage=None))

    answer = await llm.complete(model(server), HELLO)

    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (8, 2)


async def test_tokens_of_an_answer_in_many_pieces_are_all_counted(llm: LiteLLM, server: ScriptedLLM) -> None:
    words = ("one", " two", " three", " four", " five", " six", " seven", " eight")
    server.script(text(*words, usage=None, pause_seconds=1.5 * INTERVAL_SECONDS))

    answer = await llm.complete(model(server), HELLO)

    assert answer.usage.completion_tokens == len(words)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (error(401, "Incorrect API key", code="invalid_api_key"), ErrorCode.STATUS_ERROR_LLM_AUTHENTICATION),
        (error(403, "Not for you"), ErrorCode.STATUS_ERROR_LLM_AUTHENTICATION),
        (error(402, "Payment required"), ErrorCode.STATUS_ERROR_LLM_OUT_OF_CREDITS),
        (error(429, "No.", code="insufficient_quota"), ErrorCode.STATUS_ERROR_LLM_OUT_OF_CREDITS),
        (error(429, "You exceeded your current quota."), ErrorCode.STATUS_ERROR_LLM_OUT_OF_CREDITS),
        (error(400, "Your credit balance is too low."), ErrorCode.STATUS_ERROR_LLM_OUT_OF_CREDITS),
        (error(400, "No.", code="content_policy_violation"), ErrorCode.STATUS_ERROR_LLM_CONTENT_POLICY_VIOLATION),
        (Reply((), finish_reason="content_filter"), ErrorCode.STATUS_ERROR_LLM_CONTENT_POLICY_VIOLATION),
        (error(404, "The model does not exist"), ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR),
        (error(400, "Context too long"), ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR),
        (cut("Half an"), ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE),
        (unfinished("Half an"), ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE),
    ],
)
async def test_a_fault_that_will_not_pass_fails_at_once(
    llm: LiteLLM, server: ScriptedLLM, reply: Reply, code: ErrorCode
) -> None:
    failure = await failure_of(llm, server, reply)

    assert (failure.code, failure.rate_limited) == (code, False)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (error(500, "Oops"), ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR),
        (error(502, "Bad gateway"), ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE),
        (error(503, "Overloaded"), ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE),
        (cut(), ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE),
    ],
)
async def test_a_fault_of_the_server_is_tried_three_times(
    llm: LiteLLM, server: ScriptedLLM, reply: Reply, code: ErrorCode
) -> None:
    failure = await failure_of(llm, server, reply, reply, reply)

    assert failure.code is code
    assert len(server.requests) == 3


async def test_a_fault_that_passes_costs_nothing(llm: LiteLLM, server: ScriptedLLM) -> None:
    server.script(error(500, "Oops"), cut(), text("Here I am."))

    assert (await llm.complete(model(server), HELLO)).text == "Here I am."


async def test_a_server_that_is_not_there_is_unavailable(llm: LiteLLM) -> None:
    with ScriptedLLM() as server:
        gone = model(server)

    with pytest.raises(LLMFailure) as caught:
        await llm.complete(gone, HELLO)

    assert caught.value.code is ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        (error(429, "Slow down", headers={"retry-after": "7"}), 7.0),
        (error(429, "Rate limit reached. Please try again in 250ms."), 0.25),
        (error(429, "You exceeded your current quota. Please retry in 20s."), 20.0),
        (error(429, "Slow down. See your billing page."), None),
    ],
)
async def test_a_rate_limit_is_told_apart_with_the_providers_pause(
    llm: LiteLLM, server: ScriptedLLM, reply: Reply, seconds: float | None
) -> None:
    failure = await failure_of(llm, server, reply)

    assert failure.rate_limited
    assert failure.retry_after_seconds == seconds
    assert failure.code is ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE
    assert len(server.requests) == 1


async def test_a_message_is_short_and_never_holds_the_key(llm: LiteLLM, server: ScriptedLLM) -> None:
    failure = await failure_of(llm, server, error(401, f"Incorrect API key provided: {KEY}. " + "x" * 2000))

    assert failure.message.startswith("The model's provider refused the API key. Incorrect API key provided: ***. xxx")
    assert len(failure.message) == MAX_MESSAGE_CHARS
    assert KEY not in repr(failure)
    assert failure.__cause__ is None


@pytest.mark.parametrize("reply", [never(), hold(Gate(), "Half an")])
async def test_a_model_that_falls_silent_fails(hasty: LiteLLM, server: ScriptedLLM, reply: Reply) -> None:
    failure = await failure_of(hasty, server, reply)

    assert failure.code is ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE
    assert failure.message == "The model did not answer in time."
    assert len(server.requests) == 1
    await server.requests[0].client_left()


async def test_an_answer_that_never_ends_fails_after_the_time_of_a_whole_call(
    hasty: LiteLLM, server: ScriptedLLM
) -> None:
    failure = await failure_of(hasty, server, text(*["on and "] * 1000, pause_seconds=0.05))

    assert failure.message == "The model did not answer in time."
    await server.requests[0].client_left()


async def test_a_callers_time_limit_is_kept(llm: LiteLLM, server: ScriptedLLM) -> None:
    server.script(never())

    with pytest.raises(LLMFailure, match="did not answer in time"):
        await llm.complete(model(server), HELLO, timeout_seconds=0.1)


@pytest.mark.parametrize("before", [(), ("Half an",)])
async def test_a_cancelled_call_closes_its_connection(
    llm: LiteLLM, server: ScriptedLLM, before: tuple[str, ...]
) -> None:
    gate = Gate()
    server.script(hold(gate, *before))
    call = asyncio.create_task(llm.complete(model(server), HELLO))
    await gate.reached()

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await server.requests[0].client_left()


async def test_what_the_listener_raises_passes_through_and_ends_the_call(llm: LiteLLM, server: ScriptedLLM) -> None:
    server.script(hold(Gate(), "Half an"))

    async def on_text(piece: str) -> None:
        raise KeyError(piece)

    with pytest.raises(KeyError, match="Half an"):
        await llm.complete(model(server), HELLO, on_text=on_text)
    await server.requests[0].client_left()


async def test_a_key_in_the_servers_environment_is_never_sent(
    llm: LiteLLM, server: ScriptedLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "GROQ_API_KEY", "ANTHROPIC_API_KEY", "HOSTED_VLLM_API_KEY", "LITELLM_API_KEY"):
        monkeypatch.setenv(name, "sk-of-the-server")

    for name in ("openai/x", "x", "hosted_vllm/x", "groq/x"):
        await llm.complete(model(server, name, None if name != "groq/x" else KEY), HELLO)

    assert [each.headers["authorization"] for each in server.requests] == [
        "Bearer none",
        "Bearer none",
        "Bearer none",
        f"Bearer {KEY}",
    ]


async def test_the_first_call_has_nothing_left_to_import(server: ScriptedLLM) -> None:
    server.script(text("Hello"))
    script = """
import asyncio, sys
from pydantic import SecretStr
from app.config import Config
from app.services.llm.base import ChatMessage, Model, Role
from app.services.llm.litellm import LiteLLM
from app.services.pacing import Pacing

async def main():
    llm = LiteLLM(Config(_env_file=None))
    await llm.ready("openai/gpt-4o")
    before = set(sys.modules)
    await llm.complete(Model("openai/gpt-4o", SecretStr("key"), sys.argv[1]), (ChatMessage(Role.USER, "Hello"),))
    print(*sorted(set(sys.modules) - before))
    await llm.close()

asyncio.run(main())
"""

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, server.url), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(WAIT_SECONDS):
        output, _ = await process.communicate()

    assert process.returncode == 0
    assert output.decode().split() == []


async def test_a_closed_service_answers_again(llm: LiteLLM, server: ScriptedLLM) -> None:
    await llm.complete(model(server), HELLO)
    await llm.close()

    answer = await llm.complete(model(server), HELLO)

    assert answer.text == "answer to Hello"


async def test_closing_a_service_that_was_never_used_does_not_import_anything() -> None:
    await LiteLLM(Config(_env_file=None)).close()  # pyright: ignore[reportCallIssue]


async def test_a_call_gives_way_to_other_runs_that_begin_once_it_is_sent(llm: LiteLLM, server: ScriptedLLM) -> None:
    gate = Gate()
    server.script(hold(gate, after=["Hi"]))
    # No slot is released by its timer.
    pacing = Pacing(1, slot_seconds=3600)

    async def begin() -> Completion:
        async with pacing.slot():
            return await llm.complete(model(server), HELLO)

    call = asyncio.create_task(begin())
    await gate.reached()
    async with asyncio.timeout(WAIT_SECONDS), pacing.slot():
        assert not call.done()
    gate.release()
    assert (await call).text == "Hi"
