"""Single events as gateways really send them, in the formats of OpenAI, Anthropic, Google and Ollama."""

import json
from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr

from app.config import Config
from app.errors import LLMFailure
from app.services.agent.tools import is_whole, parse_arguments
from app.services.llm.base import ChatMessage, Completion, Ending, Model, Role
from app.services.llm.litellm import LiteLLM
from tests.support.scripted_llm import Body, Reply, ScriptedLLM, raw

HELLO = (ChatMessage(Role.USER, "Hello"),)
DONE = "data: [DONE]\n\n"
ANTHROPIC = "anthropic/claude-3-5-sonnet-20241022"
GEMINI = "gemini/gemini-2.0-flash"
OLLAMA = "ollama_chat/llama3.1"


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedLLM]:
    with ScriptedLLM() as running:
        yield running


@pytest.fixture
async def llm(server: ScriptedLLM) -> AsyncIterator[LiteLLM]:
    server.reset()
    service = LiteLLM(Config(), retry_pause_seconds=0.0)
    yield service
    await service.close()


async def answer(llm: LiteLLM, server: ScriptedLLM, reply: Reply, model: str = "openai/scripted") -> Completion:
    server.script(reply)
    return await llm.complete(Model(model, SecretStr("sk-odd-events-0123456789"), server.url), HELLO)


def sse(*events: object) -> str:
    """Events of a stream; a text goes as it is."""
    return "".join(event if isinstance(event, str) else f"data: {json.dumps(event)}\n\n" for event in events)


def stream(*events: object) -> Reply:
    return raw(sse(*events).encode())


def lines(*events: Body) -> Reply:
    """JSON lines, as Ollama streams."""
    return raw("".join(json.dumps(event) + "\n" for event in events).encode(), "application/x-ndjson")


def document(body: object) -> Reply:
    return raw(json.dumps(body).encode(), "application/json")


def chunk(delta: object = None, finish: str | None = None, index: int = 0, **more: object) -> Body:
    choice: Body = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


A = chunk({"content": "A"})
STOP = chunk({}, "stop")


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


@pytest.mark.parametrize(
    "reply",
    [
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
    ],
)
async def test_an_odd_event_costs_no_answer(llm: LiteLLM, server: ScriptedLLM, reply: Reply) -> None:
    found = await answer(llm, server, reply)
    assert (found.text, found.tool_calls, found.ending) == ("A", (), Ending.WHOLE)


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


def message(*blocks: Body, reason: str = "end_turn", usage: object = None) -> Reply:
    """A stream of Anthropic's with these blocks, each as its beginning, the deltas and its end."""
    start: Body = {"id": "m", "type": "message", "role": "assistant", "content": [], "usage": {"input_tokens": 5}}
    end = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}
    return stream({"type": "message_start", "message": start}, *blocks, end, {"type": "message_stop"})


def block(index: int, content: Body, *deltas: Body) -> list[Body]:
    said = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    begin: Body = {"type": "content_block_start", "index": index, "content_block": content}
    return [begin, *said, {"type": "content_block_stop", "index": index}]


def call(arguments: object, *pieces: str) -> list[Body]:
    content = {"type": "tool_use", "id": "tu1", "name": "write_file", "input": arguments}
    return block(0, content, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))


@pytest.mark.parametrize("usage", [None, {}, {"output_tokens": 7}, "x", 5])
async def test_text_of_anthropics_format_is_read_whatever_its_counts_are(
    llm: LiteLLM, server: ScriptedLLM, usage: object
) -> None:
    said = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "A"})
    found = await answer(llm, server, message({"type": "ping"}, {"type": "new"}, *said, usage=usage), ANTHROPIC)
    assert (found.text, found.ending) == ("A", Ending.WHOLE)


@pytest.mark.parametrize(
    "blocks",
    [
        call({"path": "a"}),
        call({}, "", '{"path":', '"a"}'),
        call(None, '{"path":"a"}'),
        call({"path": "a"}, '{"path":"a"}'),
    ],
)
async def test_the_arguments_of_a_call_in_anthropics_format_are_read_wherever_they_stand(
    llm: LiteLLM, server: ScriptedLLM, blocks: list[Body]
) -> None:
    [found] = (await answer(llm, server, message(*blocks, reason="tool_use"), ANTHROPIC)).tool_calls
    assert (found.id, found.name, parse_arguments(found.arguments)) == ("tu1", "write_file", {"path": "a"})


async def test_a_whole_message_of_anthropics_is_an_answer(llm: LiteLLM, server: ScriptedLLM) -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "signed"},
        {"type": "text", "text": "A"},
        {"type": "tool_use", "id": "tu1", "name": "write_file", "input": {"path": "a"}},
        {"type": "unheard_of"},
    ]
    body = {"id": "m", "type": "message", "role": "assistant", "content": blocks, "stop_reason": "tool_use"}
    found = await answer(llm, server, document({**body, "usage": {"input_tokens": 5, "output_tokens": 7}}), ANTHROPIC)
    assert (found.text, found.usage.prompt_tokens, found.usage.completion_tokens) == ("A", 5, 7)
    assert [(each.id, parse_arguments(each.arguments)) for each in found.tool_calls] == [("tu1", {"path": "a"})]
    assert found.provider_fields["thinking_blocks"] == [{"type": "thinking", "thinking": "Hm.", "signature": "signed"}]


@pytest.mark.parametrize("arguments", [{}, {"args": None}, {"args": {}}, {"args": []}])
async def test_a_call_of_googles_without_arguments_is_a_call(
    llm: LiteLLM, server: ScriptedLLM, arguments: Body
) -> None:
    parts = [{"functionCall": {"name": "list_files", **arguments}}]
    event = {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
    for reply in (stream(event), document([event])):
        [found] = (await answer(llm, server, reply, GEMINI)).tool_calls
        assert (found.name, parse_arguments(found.arguments)) == ("list_files", {})


async def test_what_ollama_streams_in_lines_is_read(llm: LiteLLM, server: ScriptedLLM) -> None:
    said = [None, "A", ""]
    events = [
        {"model": "m", "message": {"role": "assistant", "content": each}, "done": each == "", "done_reason": "stop"}
        for each in said
    ]
    found = await answer(llm, server, lines(*events), OLLAMA)
    assert (found.text, found.ending) == ("A", Ending.WHOLE)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{}{"path": "a"}', {"path": "a"}),
        ('{"path": "a"}\n{"path": "a"}', {"path": "a"}),
        ('"{\\"path\\": \\"a\\"}"', {"path": "a"}),
        ('{"path": "a\nb\tc"}', {"path": "a\nb\tc"}),
        *((text, {}) for text in ("", " ", "null", "[]", "{}", "{}{}", '""', "\n{}\n")),
        *(
            (text, {"unparsed": text})
            for text in ('{"path": "a"}{"path": "b"}', '[{"path": "a"}]', "5", '{"path"', '{"a": 1}}', '"x"', "{}" * 9)
        ),
    ],
)
def test_arguments_are_read_as_they_were_meant(text: str, arguments: Body) -> None:
    assert parse_arguments(text) == arguments
    assert is_whole(text) == (bool(text.strip()) and "unparsed" not in arguments)
