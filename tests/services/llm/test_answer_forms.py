"""Text, counts and endings in whatever form providers and gateways send them."""

import json

import pytest

from app.services.agent.argument_text import parse_arguments
from app.services.llm.base import ChatMessage, Completion, Ending, Model, Role, ToolSpec
from app.services.llm.litellm import LiteLLM
from tests.support.scripted_llm import Body, Reply, ScriptedLLM, deltas, raw

HELLO = (ChatMessage(Role.USER, "Hello"),)
TOOLS = tuple(ToolSpec(name, "", {"type": "object", "properties": {}}) for name in ("write_file", "list_files", "list"))


async def answer(llm: LiteLLM, server: ScriptedLLM, reply: Reply, model: str = "openai/scripted") -> Completion:
    server.script(reply)
    return await llm.complete(Model(model, None, server.url), HELLO, tools=TOOLS)


def _sse(*chunks: object, ending: str = "\n\n") -> bytes:
    return (
        "".join(f"data: {json.dumps(chunk)}{ending}" for chunk in chunks).encode() + b"data: [DONE]" + ending.encode()
    )


def _chunk(delta: object, finish_reason: object = None) -> Body:
    return {"id": "1", "object": "chat.completion.chunk", "choices": [{"delta": delta, "finish_reason": finish_reason}]}


WHOLE: Body = {
    "id": "1",
    "object": "chat.completion",
    "created": 1.5,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": "3", "completion_tokens": 2.0, "total_tokens": None},
}


@pytest.mark.parametrize(
    "reply",
    [
        deltas({"content": [{"type": "text", "text": "hel"}]}, {"content": [{"type": "text", "text": "lo"}]}),
        deltas({"content": ["hel", {"type": "output_text", "text": {"value": "lo"}}]}),
        deltas({"content": {"type": "text", "text": "hello"}}),
        deltas({"content": "hel", "refusal": None}, {"refusal": "lo"}),
        deltas({"content": None, "tool_calls": None, "function_call": None}, {"content": "hello", "role": None}),
        raw(json.dumps(WHOLE).encode(), "application/json"),
        raw(b" \n" + json.dumps(WHOLE, indent=1).encode()),
        raw(_sse(WHOLE)),
        raw(_sse(_chunk({"content": "hello"}), _chunk({}, "stop")), "text/plain"),
        raw(_sse(_chunk({"content": "hel"}), _chunk({"content": "lo"}), _chunk(None, "eos"), ending="\r\n\r\n")),
        raw(_sse(_chunk({"content": "hel"}), _chunk({"content": "lo"}), _chunk({}, "stop"), ending="\n")),
        raw(_sse(_chunk({"content": "hel"}), _chunk({"content": "lo"}), _chunk({}, "stop"), ending="\r\r")),
        raw(b"\xef\xbb\xbf" + _sse(_chunk({"content": "hello"}), _chunk({}, "stop"))),
        raw(b": wait\n\n" + _sse({"choices": []}, _chunk({"content": "hello"}), {"choices": None}, _chunk({}, "stop"))),
        raw(_sse(_chunk({"content": "hello"}), _chunk({}, "stop")).removesuffix(b"data: [DONE]\n\n")),
        raw(_sse(_chunk({"content": "hello"}), _chunk({}, "stop")).removesuffix(b"\n\ndata: [DONE]\n\n")),
    ],
)
async def test_text_is_read_in_whatever_form_it_comes(llm: LiteLLM, server: ScriptedLLM, reply: Reply) -> None:
    found = await answer(llm, server, reply)

    assert (found.text, found.tool_calls, found.ending) == ("hello", (), Ending.WHOLE)


async def test_pieces_that_come_as_messages_are_all_said(llm: LiteLLM, server: ScriptedLLM) -> None:
    pieces = [{"choices": [{"index": 0, "message": {"content": piece}}]} for piece in ("hel", "lo")]

    found = await answer(
        llm, server, raw(_sse(_chunk({"role": "assistant", "content": ""}), *pieces, _chunk({}, "stop")))
    )

    assert found.text == "hello"


async def test_a_whole_answer_with_calls_is_read(llm: LiteLLM, server: ScriptedLLM) -> None:
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "list_files", "arguments": "{}"}} for n in (1, 2)]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    whole = {**WHOLE, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}

    found = await answer(llm, server, raw(json.dumps(whole).encode(), "application/json"))

    assert [(call.id, call.name) for call in found.tool_calls] == [("c1", "list_files"), ("c2", "list_files")]


@pytest.mark.parametrize(
    "call",
    [
        {"id": "c1", "function": {"name": "list_files", "arguments": {"path": "a"}}},
        {"id": "c1", "function": {"name": "list_files", "input": {"path": "a"}}},
        {"id": "c1", "name": "list_files", "arguments": '{"path": "a"}'},
        {"id": "c1", "type": "tool_use", "name": "list_files", "input": {"path": "a"}},
        {"id": "c1", "type": "tool_use", "name": "list_files", "input": '{"path": "a"}'},
        {"id": "c1", "index": "0", "function": {"name": "list_files", "arguments": '```json\n{"path": "a"}\n```'}},
        {"id": "c1", "index": 10**30, "function": {"name": "list_files", "arguments": "{'path': 'a'}"}},
    ],
)
async def test_a_call_is_read_in_whatever_form_it_comes(llm: LiteLLM, server: ScriptedLLM, call: Body) -> None:
    for calls in ([call], call):
        found = await answer(llm, server, raw(_sse(_chunk({"tool_calls": calls}), _chunk({}, "tool_calls"))))
        assert [(each.id, each.name, parse_arguments(each.arguments)) for each in found.tool_calls] == [
            ("c1", "list_files", {"path": "a"})
        ]


@pytest.mark.parametrize("usage", [
    {"prompt_tokens": -5, "completion_tokens": 7},
    {"prompt_tokens": 0.5, "completion_tokens": "7"},
    {"prompt_tokens": "many", "completion_tokens": 7.9, "total_tokens": None},
    {"prompt_tokens": None, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": "x"}},
])  # fmt: skip
async def test_odd_counts_of_tokens_do_not_cost_the_answer(llm: LiteLLM, server: ScriptedLLM, usage: Body) -> None:
    found = await answer(llm, server, deltas({"content": "hello"}, usage=usage))

    assert (found.text, found.usage.prompt_tokens, found.usage.completion_tokens) == ("hello", 0, 7)


async def test_counts_larger_than_any_column_are_cut(llm: LiteLLM, server: ScriptedLLM) -> None:
    usage = {"prompt_tokens": 10**30, "completion_tokens": 1e300, "total_tokens": "9" * 39}

    found = await answer(llm, server, deltas({"content": "hello"}, usage=usage))

    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (2**53 - 1, 2**53 - 1)


@pytest.mark.parametrize(
    ("reason", "ending"),
    [
        ("length", Ending.CUT),
        ("max_tokens", Ending.CUT),
        ("content_filter", Ending.FILTERED),
        ("SAFETY", Ending.FILTERED),
    ],
)
async def test_an_answer_that_was_cut_off_says_so(
    llm: LiteLLM, server: ScriptedLLM, reason: str, ending: Ending
) -> None:
    found = await answer(llm, server, deltas({"content": "hel"}, finish_reason=reason))

    assert (found.text, found.ending) == ("hel", ending)
