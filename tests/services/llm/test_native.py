"""Single events as gateways really send them, in the formats of Anthropic, Google and Ollama."""

import json

import pytest

from app.errors import LLMFailure
from app.services.agent.argument_text import parse_arguments
from app.services.llm.base import Ending
from app.services.llm.litellm import LiteLLM
from tests.support.model_calls import answer
from tests.support.provider_replies import (
    ANTHROPIC,
    GEMINI,
    OLLAMA,
    block,
    call,
    candidate,
    document,
    lines,
    message,
    stream,
)
from tests.support.scripted_llm import Body, Reply, ScriptedLLM, raw


async def test_an_anthropic_answer_at_the_end_of_its_context_is_cut(llm: LiteLLM, server: ScriptedLLM) -> None:
    said = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "A"})
    found = await answer(llm, server, message(*said, reason="model_context_window_exceeded"), ANTHROPIC)
    assert (found.text, found.ending) == ("A", Ending.CUT)


GOOGLES: list[Reply] = [
    stream(candidate({"text": None}, {"text": 5}, None, "x", {"text": "A"}, finishReason="STOP")),
    stream(candidate({"functionCall": {"args": {"a": 1}}}, {"text": "A"}, finishReason="STOP")),
    stream(candidate({"functionCall": "x"}, {"inlineData": {"data": "QUJD"}}, {"text": "A"}, finishReason="STOP")),
    stream(candidate({"text": "A"}, finishReason="STOP"), {"usageMetadata": {"promptTokenCount": 5}}),
    stream({"usageMetadata": {}}, candidate({"text": "A"}), candidate(finishReason="STOP"), {"modelVersion": "x"}),
    stream({"candidates": []}, candidate({"text": "A"}), {"candidates": [{"finishReason": "STOP"}]}),
    stream("data: ping\n\n", candidate({"text": "A"}, finishReason="SOMETHING_NEW")),
]


async def test_an_odd_event_of_googles_costs_no_answer(llm: LiteLLM, server: ScriptedLLM) -> None:
    found = [(reply, await answer(llm, server, reply, GEMINI)) for reply in GOOGLES]

    assert [reply for reply, each in found if (each.text, each.ending) != ("A", Ending.WHOLE)] == []


async def test_the_arguments_of_a_call_of_googles_may_be_a_text(llm: LiteLLM, server: ScriptedLLM) -> None:
    part = {"functionCall": {"name": "list_files", "args": '{"path": "a"}'}}
    [found] = (await answer(llm, server, stream(candidate(part, finishReason="STOP")), GEMINI)).tool_calls
    assert (found.name, parse_arguments(found.arguments)) == ("list_files", {"path": "a"})


@pytest.mark.parametrize("indent", [None, 1])
async def test_a_whole_answer_of_ollamas_is_read(llm: LiteLLM, server: ScriptedLLM, indent: int | None) -> None:
    body = {"model": "m", "message": {"role": "assistant", "content": "A"}, "done": True, "done_reason": "stop"}
    found = await answer(llm, server, raw(json.dumps(body, indent=indent).encode(), "application/json"), OLLAMA)
    assert (found.text, found.ending) == ("A", Ending.WHOLE)


async def test_an_error_of_ollamas_is_told_in_its_words(llm: LiteLLM, server: ScriptedLLM) -> None:
    said: Body = {"model": "m", "message": {"role": "assistant", "content": "A"}, "done": False}
    with pytest.raises(LLMFailure, match=r"^The model's server failed\. The runner has stopped\.$"):
        await answer(llm, server, lines(said, {"error": "The runner has stopped."}), OLLAMA)


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


async def test_odd_events_of_anthropics_format_cost_no_answer(llm: LiteLLM, server: ScriptedLLM) -> None:
    said = block(0, {"type": "text", "text": None}, {"type": "text_delta", "text": None})
    begin: Body = {"type": "content_block_delta", "index": 0, "delta": None}
    more: Body = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "A"}}
    unnamed = {"type": "tool_use", "name": "write_file", "input": {"path": "a"}}
    nameless = {"type": "tool_use", "id": "tu2", "input": {"path": "b"}}
    end: Body = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}}
    events = [*said[:-1], begin, more, said[-1], *block(1, unnamed), *block(2, nameless), end, {"type": "message_stop"}]

    found = await answer(llm, server, stream({"type": "message_start"}, *events), ANTHROPIC)

    assert (found.text, found.ending) == ("A", Ending.WHOLE)
    assert [(call.id, parse_arguments(call.arguments)) for call in found.tool_calls] == [("call_1", {"path": "a"})]


async def test_odd_lines_of_ollamas_cost_no_answer(llm: LiteLLM, server: ScriptedLLM) -> None:
    parts: Body = {"message": {"content": [{"type": "text", "text": "A"}], "tool_calls": [{"function": None}, 5]}}
    found = await answer(llm, server, lines({"model": 5, "message": None}, parts, {"done": "true"}), OLLAMA)
    assert (found.text, found.tool_calls, found.ending) == ("A", (), Ending.WHOLE)


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
