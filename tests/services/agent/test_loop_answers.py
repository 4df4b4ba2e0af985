"""A conversation survives whatever its model answers, over HTTP, on both databases."""

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.scripted_llm import Call, Gate, Reply, ScriptedLLM, cut, deltas, hold, raw, text, tools
from tests.support.scripted_llm import fragment as T  # noqa: N812  Tables of fragments read better with a short name.

JSON = dict[str, Any]
PARTS = """query ($id: ID!) { conversation(id: $id) { events(last: 50) { nodes {
  __typename source ... on MessageEvent { text isPartial } } } } }"""


def sent(llm: ScriptedLLM, number: int = -1) -> list[JSON]:
    return [dict(message) for message in cast("Sequence[JSON]", llm.requests[number].body["messages"])]


async def messages(client: Client, conversation_id: str) -> list[tuple[str, bool]]:
    data = await client.execute(PARTS, id=conversation_id)
    found = cast("list[JSON]", data["conversation"]["events"]["nodes"])
    return [
        (event["text"], event["isPartial"])
        for event in found
        if event["__typename"] == "MessageEvent" and event["source"] == "AGENT"
    ]


@pytest.mark.parametrize(
    "calls",
    [
        (Call("functions.list_files", "{}"),),
        (Call("list_files<|channel|>commentary", "{}"),),
        (Call("läs filer", "{}", "id with spaces/ü"),),
        (Call("x" * 300, "{}"),),
        (Call("one", "{}", "same"), Call("two", "{}", "same")),
        (Call("one", "{}", "a" * 200 + "1"), Call("two", "{}", "a" * 200 + "2")),
        (Call("one", "{}", ""), Call("two", "{}", "")),
        (Call("one", '{"a": "\\ud83d", "\\u0000": "\\u0000"}'),),
        *((Call("one", '{"a":' * levels + "1" + "}" * levels),) for levels in (49, 60, 200, 260, 900, 5000)),
        (Call("one", '{"a": [' + "9" * 400 + ", " + "9" * 5000 + ", 1e999, NaN, -Infinity, 12345678901234567890]}"),),
        (Call("one", "[1]"), Call("two", "not JSON")),
        (Call("one", ""), Call("two", " ")),
        (Call("one", '{"a": 1}{"b": 2}'),),
    ],
)
async def test_whatever_a_model_calls_the_conversation_goes_on(
    client: Client, llm: ScriptedLLM, calls: tuple[Call, ...]
) -> None:
    await steps.save_settings(client, llm)
    llm.faults.clear()
    llm.script(tools(*calls), text("Done."))
    conversation = await steps.create(client, "Go")
    await steps.until_waiting(client, conversation["id"])
    await steps.send(client, conversation["id"], "And on")
    await steps.until_waiting(client, conversation["id"])

    assert llm.faults == []
    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "answer to And on")
    log = await steps.events(client, conversation["id"])
    shown = [event["toolName"] for event in log if event["__typename"] == "ToolCallEvent"]
    assert shown == [call.name[:200] for call in calls]
    exported = await client.execute(documents.TRAJECTORY, id=conversation["id"])
    replayed = await steps.create(client, replay=exported["conversation"]["trajectory"])
    await steps.until_waiting(client, replayed["id"])


async def test_an_id_that_comes_again_in_a_later_answer_is_sent_as_another(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.faults.clear()
    llm.script(tools(Call("one", "{}", "call_1")), tools(Call("one", '{"b": 1}', "call_1")), text("Done."))
    conversation = await steps.create(client, "Go")
    await steps.until_waiting(client, conversation["id"])

    assert llm.faults == []
    ids = [call["id"] for message in sent(llm) for call in message.get("tool_calls") or ()]
    assert len(set(ids)) == 2
    assert [message["tool_call_id"] for message in sent(llm) if message["role"] == "tool"] == ids


async def test_what_a_provider_wants_back_is_sent_back_unchanged(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    details = [{"type": "reasoning.encrypted", "data": "AAAA", "index": 0}]
    google = {"google": {"thought_signature": "c2ln" * 500}}
    first = deltas(
        {"reasoning_content": "I think"},
        {"reasoning_details": details},
        T(0, "c1", "one", "{}", extra_content=google),
        finish_reason="tool_calls",
    )
    llm.script(first, text("Done."))
    conversation = await steps.create(client, "Go")
    await steps.until_waiting(client, conversation["id"])

    [answer] = [message for message in sent(llm) if message.get("tool_calls")]
    assert (answer["reasoning_content"], answer["reasoning_details"]) == ("I think", details)
    assert answer["tool_calls"][0]["extra_content"] == google
    # Another model has no use for them, and may refuse them.
    await steps.save_settings(client, llm, llmModel="openai/another")
    await steps.send(client, conversation["id"], "Again")
    await steps.until_waiting(client, conversation["id"])
    [answer] = [message for message in sent(llm) if message.get("tool_calls")]
    assert "reasoning_content" not in answer
    assert "extra_content" not in answer["tool_calls"][0]


@pytest.mark.parametrize(
    "empty", [text(""), text(" \n"), deltas({"reasoning_content": "Hm."}), deltas(), deltas({"content": None})]
)
async def test_an_empty_answer_is_asked_for_once_more(client: Client, llm: ScriptedLLM, empty: Reply) -> None:
    await steps.save_settings(client, llm)
    llm.script(empty)
    conversation = await steps.create(client, "Hello")
    found = await steps.until_waiting(client, conversation["id"])

    assert await steps.said(client, conversation["id"]) == [("USER", "Hello"), ("AGENT", "answer to Hello")]
    assert (found["usage"]["promptTokens"], found["usage"]["completionTokens"]) == (22, 14)


async def test_two_empty_answers_pause_with_a_reason(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.script(text(""), deltas({"reasoning_content": "Hm."}))
    conversation = await steps.create(client, "Hello")
    found = await steps.until(client, conversation["id"], agentState="PAUSED")

    assert found["statusReason"]["message"] == "The model gave an empty answer, twice. Send a message to ask it again."
    assert found["usage"]["promptTokens"] == 22
    await steps.send(client, conversation["id"], "And now?")
    await steps.until_waiting(client, conversation["id"])
    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "answer to And now?")
    assert [message["content"] for message in sent(llm)[1:]] == ["Hello\n\nAnd now?"]


@pytest.mark.parametrize(
    ("reason", "message_id"),
    [("length", "LIMIT_REACHED"), ("content_filter", "STATUS$ERROR_LLM_CONTENT_POLICY_VIOLATION")],
)
async def test_a_text_that_was_cut_is_kept_and_says_so(
    client: Client, llm: ScriptedLLM, reason: str, message_id: str
) -> None:
    await steps.save_settings(client, llm)
    llm.script(deltas({"content": "Once upon"}, finish_reason=reason))
    conversation = await steps.create(client, "Tell a tale")
    found = await steps.until(client, conversation["id"], agentState="PAUSED")

    assert found["statusReason"]["messageId"] == message_id
    assert await messages(client, conversation["id"]) == [("Once upon", True)]


async def test_a_call_that_was_cut_is_not_run_and_the_agent_is_told_why(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.script(
        deltas(T(0, "c1", "one", "{}"), T(1, "c2", "two", '{"content": "half'), finish_reason="length"), text("I see.")
    )
    conversation = await steps.create(client, "Write")
    await steps.until_waiting(client, conversation["id"])

    results = [message["content"] for message in sent(llm) if message["role"] == "tool"]
    assert results[0].startswith("There is no tool named 'one'.")
    assert results[1].startswith("This call was not run: the answer reached the limit on its length")
    log = await steps.events(client, conversation["id"])
    assert [event["isError"] for event in log if event["__typename"] == "ToolResultEvent"] == [True, True]


async def test_what_was_streamed_before_a_stop_is_kept(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    asked = len(llm.requests)
    gate = Gate()
    llm.script(hold(gate, "I had said this", after=["and more"]))
    await steps.send_and_read(client, conversation["id"], "Hello")
    await client.execute(documents.STOP, input={"id": conversation["id"]})
    await steps.until_said(client, conversation["id"], "AGENT", "I had said this")
    gate.release()

    assert (await messages(client, conversation["id"]))[-1] == ("I had said this", True)
    found = await steps.get(client, conversation["id"])
    assert found["status"] == "STOPPED"
    assert found["usage"]["completionTokens"] > 0
    await steps.send(client, conversation["id"], "Go on")
    await steps.until_waiting(client, conversation["id"])
    assert [message["content"] for message in sent(llm)[-3:]] == ["Hello", "I had said this", "Go on"]
    assert len(llm.requests) == asked + 2


async def test_what_was_streamed_before_the_connection_broke_is_kept(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.script(cut("I had ", "said this"))
    conversation = await steps.create(client, "Hello")
    await steps.until(client, conversation["id"], status="ERROR")

    assert await messages(client, conversation["id"]) == [("I had said this", True)]


async def test_what_was_streamed_before_a_bound_was_reached_is_kept(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    event = json.dumps({**chunk, "choices": [{"index": 0, "delta": {"content": "I had said this"}}]})
    llm.script(raw(f"data: {event}\n\n".encode() + b"\n" * 600_000))
    conversation = await steps.create(client, "Hello")
    await steps.until(client, conversation["id"], status="ERROR")

    assert await messages(client, conversation["id"]) == [("I had said this", True)]


@pytest.mark.parametrize("usage", [{"prompt_tokens": 2**70, "completion_tokens": -1}, {"prompt_tokens": "9" * 30}])
async def test_counts_without_measure_do_not_cost_the_answer(client: Client, llm: ScriptedLLM, usage: JSON) -> None:
    await steps.save_settings(client, llm)
    llm.default = lambda _body: deltas({"content": "Hello"}, usage=json.loads(json.dumps(usage)))
    conversation = await steps.create(client, "Hello")
    await steps.until_waiting(client, conversation["id"])

    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "Hello")
