"""Single events as gateways really send them, in the formats of OpenAI, Anthropic, Google and Ollama."""

import json
import math
from collections.abc import Callable
from contextlib import suppress

import pytest

from app.errors import LLMFailure
from app.services.llm.base import Ending
from app.services.llm.litellm import LiteLLM
from tests.support.model_calls import answer
from tests.support.provider_replies import (
    ANTHROPIC,
    DONE,
    GEMINI,
    OLLAMA,
    STOP,
    A,
    block,
    chunk,
    document,
    lines,
    message,
    sse,
    stream,
)
from tests.support.scripted_llm import Body, Reply, ScriptedLLM, raw

# Fields in forms that say nothing.
HEADS: list[tuple[str, object]] = [
    *(("id", 5), ("id", None), ("id", {}), ("model", None), ("model", 3.5), ("created", "2024"), ("created", None)),
    *(("system_fingerprint", 5), ("service_tier", []), ("object", 1), ("usage", []), ("usage", "x"), ("usage", True)),
    *(("provider", {}), ("citations", 5)),
]
FIELDS: list[tuple[str, object]] = [
    *(("role", None), ("role", 5), ("images", "x"), ("audio", {}), ("audio", 5), ("annotations", "x")),
    *(("provider_specific_fields", "x"), ("provider_specific_fields", [1]), ("thinking_blocks", "x")),
    *(("thinking_blocks", [1, None]), ("reasoning_details", "x"), ("reasoning_details", [None, "s"])),
    *(("tool_calls", [None]), ("tool_calls", 5), ("function_call", "x"), ("refusal", 5), ("x", [[[]]])),
]
NOTHING: list[Body] = [{}, {"choices": None}, {"choices": {"0": {}}}, {"choices": [None]}]


ODD: list[Reply] = [
    # The whole in another form than a delta.
    *(stream({"choices": [{"index": 0, **said}]}, STOP) for said in ({"delta": "A"}, {"delta": [{"content": "A"}]})),
    *(document({"choices": [said]}) for said in ({"message": "A"}, {"content": "A"}, {"delta": {"content": "A"}})),
    stream({"choices": {"index": 0, "delta": {"content": "A"}}}, STOP, DONE),
    document({"choices": {"message": {"content": "A"}}}),
    stream({"choices": [{"index": "0", "delta": {"content": "A"}}]}, STOP, DONE),
    # Words where a reason would be, and fields where an error would be.
    *(stream(chunk({"content": "A"}, reason), STOP, DONE) for reason in ("", "null", "None")),
    *(stream({**A, "error": nothing}, {**STOP, "error": nothing}) for nothing in (None, "", False)),
    # What proxies do to events.
    raw(sse(A, STOP, DONE).replace("data: ", "data: data: ").encode()),
    raw(sse(A, STOP, DONE).replace("}\n\ndata: ", "}data: ").encode()),
    raw(f"data: {json.dumps(A)}{json.dumps(STOP)}\n\n".encode()),
    raw(f"id: 1\nretry: 5\nevent: message\n{sse(A)}id: 2\n{sse(STOP)}".encode()),
    stream(A, STOP, "data: [done]\n\n", 'data: "[DONE]"\n\n'),
    stream(A, {**A, "choices": [{"index": 0, "content_filter_offsets": {"check_offset": 5}}]}, STOP, DONE),
    # Of several answers the first one is read, whichever comes first in a chunk.
    stream(A, chunk({"content": "X"}, index=1), chunk({"content": "X"}, "stop", index=1), STOP, DONE),
    stream({"choices": [{"index": 1, "delta": {"content": "X"}}, {"index": 0, "delta": {"content": "A"}}]}, STOP),
    # Words of a gateway between the events.
    stream("data: ping\n\n", ": OPENROUTER PROCESSING\n\n", 'data: "keep-alive"\n\n', "data: 5\n\n", A, STOP, DONE),
    stream(*NOTHING, A, STOP, DONE),
    stream(A, {"choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}, DONE),
    stream(
        {"choices": [{"delta": {"content": "A"}}]},
        'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n',
    ),
    stream(A, STOP, DONE, chunk({"content": "X"})),
    stream(A, chunk({}, "tool_calls"), DONE),
    stream(f"data: {json.dumps(A, indent=1)}".replace("\n", "\ndata: ") + "\n\n", STOP, DONE),
    # A stream without its form.
    document([A, STOP]),
    lines(A, STOP),
    document({"choices": [{"index": 1, "message": {"content": "X"}}, {"index": 0, "message": {"content": "A"}}]}),
    document({"choices": [{"text": "A"}]}),
    stream({"choices": [{"index": 0, "text": "A", "finish_reason": None}]}, STOP, DONE),
    *(stream({**A, name: value}, {**STOP, name: value}, DONE) for name, value in HEADS),
    *(stream(chunk({"content": "A", name: value}), STOP, DONE) for name, value in FIELDS),
    stream({"choices": [{"index": 0, "delta": {"content": "A"}, "logprobs": "x", "finish_reason": "stop"}]}, DONE),
    stream(A, 'data: {"choices":[{"index":0,"delta":{"x":' + "[" * 900 + "]" * 900 + "}}]}\n\n", STOP, DONE),
]


async def test_an_odd_event_costs_no_answer(llm: LiteLLM, server: ScriptedLLM) -> None:
    found = [(reply, await answer(llm, server, reply)) for reply in ODD]

    expected = ("A", (), Ending.WHOLE)
    assert [reply for reply, each in found if (each.text, each.tool_calls, each.ending) != expected] == []


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 5, "completion_tokens": 2, "cost": "0.1", "estimated": True, "by": [1]},
        {"prompt_tokens": "5", "completion_tokens": 2.0, "prompt_tokens_details": "x"},
        {"prompt_tokens": 5, "completion_tokens": 2, "completion_tokens_details": [1], "x_details": {"a": {"b": {}}}},
        {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": "y", "z": "z"}},
    ],
)
async def test_odd_fields_beside_the_counts_do_not_cost_them(llm: LiteLLM, server: ScriptedLLM, usage: Body) -> None:
    found = await answer(llm, server, stream(A, STOP, {"choices": [], "usage": usage}, DONE))
    assert (found.text, found.usage.prompt_tokens, found.usage.completion_tokens) == ("A", 5, 2)


# What a server says once it has answered that all is well, and of it what people read.
ERRORS: list[tuple[Reply, str]] = [
    (
        stream(
            {
                "choices": [
                    {"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 502, "message": "It broke."}}
                ]
            }
        ),
        "It broke.",
    ),
    (stream({"choices": [], "error": {"code": 502, "message": "It broke."}}), "It broke."),
    (stream({"object": "error", "message": "It broke.", "type": "InternalServerError", "code": 503}), "It broke."),
    (stream('error: {"code": 503, "message": "It broke.", "type": "server_error"}\n\n'), "It broke."),
    (stream('event: error\ndata: {"message": "It broke."}\n\n'), "It broke."),
    (stream("event: error\ndata: It broke.\n\n"), "It broke."),
    (stream({"detail": "It broke."}), "It broke."),
    (stream({"success": False, "msg": "It broke.", "code": 1113}), "It broke."),
    (stream({"base_resp": {"status_code": 1004, "status_msg": "It broke."}}), "It broke."),
    (document({"detail": "It broke."}), "It broke."),
    (document({"detail": [{"loc": ["body"], "msg": "It broke."}]}), "It broke."),
    (document({"message": "It broke.", "id": "x"}), "It broke."),
    (document({"base_resp": {"status_code": 1004, "status_msg": "It broke."}}), "It broke."),
]


@pytest.mark.parametrize("model", ["openai/m", "deepseek/m", "openrouter/m"])
async def test_an_error_behind_a_good_status_is_told_in_its_words(
    llm: LiteLLM, server: ScriptedLLM, model: str
) -> None:
    for reply, words in ERRORS:
        with pytest.raises(LLMFailure) as caught:
            await answer(llm, server, reply, model)
        assert caught.value.message == f"The model's server is not available. {words}", reply
        assert caught.value.code.name == "STATUS_ERROR_LLM_SERVICE_UNAVAILABLE"


REASONS = {
    **dict.fromkeys(("abort", "cancelled", "insufficient_system_resource", "network_error", "failed"), None),
    **dict.fromkeys(("max_tokens", "MAX_TOKENS", "model_length", "model_context_window_exceeded"), Ending.CUT),
    **dict.fromkeys(("sensitive", "RECITATION", "guardrail_intervened", "PROHIBITED_CONTENT"), Ending.FILTERED),
    **dict.fromkeys(("eos", "stop_sequence", "COMPLETE", "end_turn", "whatever"), Ending.WHOLE),
}


@pytest.mark.parametrize("model", ["openai/m", "deepseek/m", "mistral/m"])
async def test_the_reasons_of_all_providers_are_told_apart(llm: LiteLLM, server: ScriptedLLM, model: str) -> None:
    found: dict[str, Ending | None] = {}
    for reason in REASONS:
        found[reason] = None
        with suppress(LLMFailure):
            found[reason] = (await answer(llm, server, stream(A, chunk({}, reason), DONE), model)).ending

    assert found == REASONS


LARGEST = 2**53 - 1
COUNTS: list[tuple[object, int]] = [
    *((-5, 0), (7, 7), (7.9, 7), ("7", 7), ("7.5", 7), ("many", 0), ("", 0), (None, 0), ([7], 0), ({"count": 7}, 0)),
    *((True, 0), (2**31, 2**31), (2**63, LARGEST), (10**40, LARGEST), (1e300, LARGEST), ("9" * 5000, 0)),
    *((math.nan, 0), (math.inf, LARGEST), (-math.inf, 0), ("NaN", 0), ("Infinity", LARGEST)),
]


def in_openais(count: object) -> Reply:
    details = {"cached_tokens": count, "audio_tokens": count, "more": [{"text_tokens": count}]}
    usage = {"prompt_tokens": 11, "completion_tokens": count, "total_tokens": count, "prompt_tokens_details": details}
    return stream(A, STOP, {"choices": [], "usage": {**usage, "cost": count, "server_tool_use": count}}, DONE)


def in_anthropics(count: object) -> Reply:
    said = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "A"})
    return message(*said, usage={"input_tokens": 11, "output_tokens": count, "cache_creation": {"x_tokens": count}})


def in_googles(count: object) -> Reply:
    details = [{"modality": "TEXT", "tokenCount": count}, {"modality": count, "tokenCount": 1}, count]
    usage = {"promptTokenCount": 11, "candidatesTokenCount": count, "promptTokensDetails": details}
    more = {"totalTokenCount": count, "cachedContentTokenCount": 1, "cacheTokensDetails": count}
    content = {"role": "model", "parts": [{"text": "A"}]}
    return stream({"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": {**usage, **more}})


def in_ollamas(count: object) -> Reply:
    said: Body = {"model": "m", "message": {"role": "assistant", "content": "A"}, "done": False}
    end = {"done": True, "prompt_eval_count": 11, "eval_count": count, "total_duration": count}
    return lines(said, {**said, **end, "message": {}})


@pytest.mark.parametrize(
    ("form", "model"),
    [
        *((in_openais, f"{provider}/m") for provider in ("openai", "deepseek", "openrouter")),
        *((in_anthropics, ANTHROPIC), (in_googles, GEMINI), (in_ollamas, OLLAMA)),
    ],
)
async def test_a_count_in_any_format_is_clamped_and_costs_no_answer(
    llm: LiteLLM, server: ScriptedLLM, form: Callable[[object], Reply], model: str
) -> None:
    found = {repr(count)[:20]: await answer(llm, server, form(count), model) for count, _ in COUNTS}

    assert {each.text for each in found.values()} == {"A"}
    expected = {repr(count)[:20]: (11, clamped) for count, clamped in COUNTS}
    assert {name: (each.usage.prompt_tokens, each.usage.completion_tokens) for name, each in found.items()} == expected


async def test_what_google_counts_as_thoughts_is_added_and_clamped(llm: LiteLLM, server: ScriptedLLM) -> None:
    content = {"role": "model", "parts": [{"text": "A"}]}
    usage = {"promptTokenCount": 11, "candidatesTokenCount": LARGEST, "thoughtsTokenCount": LARGEST}
    event: Body = {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": usage}

    found = await answer(llm, server, stream(event), GEMINI)

    assert (found.text, found.usage.prompt_tokens, found.usage.completion_tokens) == ("A", 11, LARGEST)


@pytest.mark.parametrize("model", ["openai/m", "deepseek/m", "mistral/m", "hosted_vllm/m", "openrouter/m", "groq/m"])
async def test_counts_in_several_chunks_are_those_of_the_last_that_has_some(
    llm: LiteLLM, server: ScriptedLLM, model: str
) -> None:
    def usage(prompt: int, completion: int) -> Body:
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    cumulative = [chunk({"content": "A"}, usage=usage(11, count)) for count in (1, 4)]
    final: Body = {"choices": [], "usage": usage(11, 7)}
    orders: list[list[Body | str]] = [
        [*cumulative, chunk({}, "stop", usage=usage(11, 7)), DONE],
        [*cumulative, STOP, final, DONE],
        [*cumulative, STOP, final, final, DONE],
        [chunk({"content": "AA"}, usage=None), chunk({}, "stop", usage=usage(11, 7)), {**final, "usage": None}],
        [chunk({"content": "AA"}, usage=usage(0, 0)), STOP, final],
        [chunk({"content": "AA"}, usage=usage(11, 7)), {**STOP, "usage": usage(0, 0)}, DONE],
    ]
    for events in orders:
        found = await answer(llm, server, stream(*events), model)
        assert (found.text, found.usage.prompt_tokens, found.usage.completion_tokens) == ("AA", 11, 7)


@pytest.mark.parametrize(("content", "text"), [(5, "5"), (1.5, "1.5"), (True, "true"), ([1, "x"], "1x"), ({}, "")])
async def test_content_that_is_no_text_is_read(llm: LiteLLM, server: ScriptedLLM, content: object, text: str) -> None:
    assert (await answer(llm, server, stream(chunk({"content": content}), STOP, DONE))).text == text


@pytest.mark.parametrize(
    "events",
    [
        [A, chunk({}, "error"), DONE],
        [A],
        [A, DONE],
        [A, chunk({"content": ""}, "error", error={"code": 502, "message": "Provider disconnected"}), DONE],
        [A, {"error": {"message": "overloaded", "code": 503}}],
        [A, 'event: error\ndata: {"message": "boom"}\n\n'],
    ],
)
async def test_an_answer_that_its_provider_broke_off_fails(
    llm: LiteLLM, server: ScriptedLLM, events: list[object]
) -> None:
    with pytest.raises(LLMFailure) as caught:
        await answer(llm, server, stream(*events))
    assert caught.value.code.name == "STATUS_ERROR_LLM_SERVICE_UNAVAILABLE"
    # Text that was passed on can't be taken back.
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "model",
    [
        *("openai", "openrouter", "deepseek", "mistral", "groq", "xai", "together_ai", "fireworks_ai", "perplexity"),
        *("azure", "hosted_vllm", "litellm_proxy", "lm_studio", "nvidia_nim", "github", "cerebras", "moonshot"),
        *("zai", "minimax", "dashscope", "databricks", "sambanova"),
    ],
)
async def test_each_provider_with_the_format_is_read_alike(llm: LiteLLM, server: ScriptedLLM, model: str) -> None:
    replies = [
        document({"choices": [{"message": {"content": "A", "role": "assistant"}}]}),
        stream("data: ping\n\n", chunk({"content": [{"type": "text", "text": "A"}]}, "stop"), DONE),
        stream(chunk({"content": "A", "provider_specific_fields": "x"}, "stop"), DONE),
    ]
    assert [(await answer(llm, server, reply, f"{model}/some/model")).text for reply in replies] == ["A"] * 3
