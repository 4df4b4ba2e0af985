"""Counts of tokens, however a provider gives them, and prices that nobody knows: over HTTP, on both databases."""

import asyncio
import json
import math
from typing import Any, cast

import pytest

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import Body, Call, Reply, ScriptedLLM, cut, deltas, raw, text, tools

JSON = dict[str, Any]
LARGEST = 2**53 - 1
USAGES = "{ conversations(first: 50) { nodes { id usage { promptTokens completionTokens costUsd } } } }"


def answer(prompt: object, completion: object, **more: object) -> Reply:
    """An answer that says "Hello", with these counts; "-" leaves one out."""
    given = {"prompt_tokens": prompt, "completion_tokens": completion, **more}
    return deltas({"content": "Hello"}, usage={name: count for name, count in given.items() if count != "-"})


async def settled(client: Client, conversation_id: str) -> JSON:
    """The conversation, once its agent has done all that it will."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            found = await steps.get(client, conversation_id)
            if found["status"] != "STARTING" and found["agentState"] not in {"LOADING", "RUNNING"}:
                assert (found["status"], found["agentState"]) == ("RUNNING", "AWAITING_USER_INPUT"), found
                return found
            await asyncio.sleep(0.02)


async def readable(client: Client, conversation_id: str) -> JSON:
    """The usage, once it is seen that whatever shows counts can be read and played again."""
    usage = cast("JSON", (await steps.get(client, conversation_id))["usage"])
    listed = (await client.execute(USAGES))["conversations"]["nodes"]
    assert [found["usage"] for found in listed if found["id"] == conversation_id] == [usage]
    exported = (await client.execute(documents.TRAJECTORY, id=conversation_id))["conversation"]["trajectory"]
    replayed = await steps.create(client, replay=exported)
    await settled(client, replayed["id"])
    again = (await client.execute(documents.TRAJECTORY, id=replayed["id"]))["conversation"]["trajectory"]
    assert again["events"] == exported["events"]
    return usage


@pytest.mark.parametrize(
    ("prompt", "completion", "expected"),
    [
        (-5, 7, (0, 7)),
        (11.9, 7.2, (11, 7)),
        ("11", "7.0", (11, 7)),
        (" 11 ", "many", (11, 0)),
        ("-", 7, (0, 7)),
        (None, 7, (0, 7)),
        ([11], 7, (0, 7)),
        (11, {"value": 7}, (11, 0)),
        (True, 7, (0, 7)),
        (2**31, 2**31 - 1, (2**31, 2**31 - 1)),
        (2**53, 2**63, (LARGEST, LARGEST)),
        (2**64, 10**30, (LARGEST, LARGEST)),
        ("9" * 30, "9" * 5000, (LARGEST, 0)),
        (1e300, 7, (LARGEST, 7)),
        (math.nan, 7, (0, 7)),
        (math.inf, -math.inf, (LARGEST, 0)),
        ("NaN", "Infinity", (0, LARGEST)),
    ],
)
async def test_any_count_is_clamped_and_costs_no_answer(
    client: Client, llm: ScriptedLLM, prompt: object, completion: object, expected: tuple[int, int]
) -> None:
    await steps.save_settings(client, llm)
    llm.script(answer(prompt, completion))
    conversation = await steps.create(client, "Hi")
    await settled(client, conversation["id"])

    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "Hello")
    usage = await readable(client, conversation["id"])
    assert (usage["promptTokens"], usage["completionTokens"]) == expected


async def test_sums_go_beyond_31_bits_and_stay_where_doubles_are_exact(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.script(answer(2**31 - 1, 2**31 - 1), answer(2**31 - 1, 2**52), answer(2**52, LARGEST - 2**52 - 2**31 + 1))
    conversation = await steps.create(client, "One")
    await settled(client, conversation["id"])
    await steps.send(client, conversation["id"], "Two")
    two = await settled(client, conversation["id"])
    assert two["usage"] == {"promptTokens": 2**32 - 2, "completionTokens": 2**52 + 2**31 - 1, "costUsd": None}
    await steps.send(client, conversation["id"], "Three")
    await settled(client, conversation["id"])
    three = await readable(client, conversation["id"])
    assert (three["promptTokens"], three["completionTokens"]) == (2**52 + 2**32 - 2, LARGEST)
    llm.script(answer(LARGEST, 1))
    await steps.send(client, conversation["id"], "Four")
    await settled(client, conversation["id"])
    four = await readable(client, conversation["id"])
    assert (four["promptTokens"], four["completionTokens"]) == (LARGEST, LARGEST)


def whole(usage: object) -> Reply:
    """A whole answer in JSON, where a stream was asked for."""
    message = {"role": "assistant", "content": "Hello"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return raw(json.dumps(body).encode(), "application/json")


def streamed(*lines: str) -> Reply:
    """An answer of these lines of JSON."""
    choice = {"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return raw("".join(f"data: {line}\n\n" for line in (json.dumps(chunk), *lines, "[DONE]")).encode())


USAGE_LINE = '{"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":%s}'


@pytest.mark.parametrize(
    "reply",
    [
        answer(11, 7, total_tokens="many", cost=math.nan, prompt_tokens_details=[], completion_tokens_details="none"),
        answer(11, 7, prompt_tokens_details={"cached_tokens": -5, "audio_tokens": 10**30, "more": {"x_tokens": "x"}}),
        answer(11, 7, completion_tokens_details={"reasoning_tokens": math.inf, "text_tokens": {}}, cost="free"),
        answer(11, 7, cost={"total": 1e999}, cost_details={"upstream_inference_cost": -1}, is_byok="perhaps"),
        whole({"prompt_tokens": 11.0, "completion_tokens": "7", "total_tokens": -math.inf}),
        streamed(USAGE_LINE % '{"prompt_tokens": 11, "completion_tokens": 7e0, "total_tokens": %s}' % ("9" * 5000)),
        streamed(USAGE_LINE % '{"prompt_tokens": 11.00000, "completion_tokens": 7, "x": "\\ud83d", "y": NaN}'),
    ],
)
async def test_what_stands_around_the_counts_costs_no_answer(client: Client, llm: ScriptedLLM, reply: Reply) -> None:
    await steps.save_settings(client, llm)
    llm.script(reply)
    conversation = await steps.create(client, "Hi")
    await settled(client, conversation["id"])

    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "Hello")
    usage = await readable(client, conversation["id"])
    assert (usage["promptTokens"], usage["completionTokens"]) == (11, 7)


@pytest.mark.parametrize("usage", [None, [], "none", 5, {}, {"prompt_tokens": None, "completion_tokens": None}])
async def test_counts_that_no_provider_gave_are_counted_here(client: Client, llm: ScriptedLLM, usage: object) -> None:
    await steps.save_settings(client, llm)
    llm.script(streamed(USAGE_LINE % json.dumps(usage)), whole(usage))
    conversation = await steps.create(client, "Hi")
    first = (await settled(client, conversation["id"]))["usage"]
    await steps.send(client, conversation["id"], "Again")
    await settled(client, conversation["id"])

    assert [said for source, said in await steps.said(client, conversation["id"]) if source == "AGENT"] == ["Hello"] * 2
    assert first["promptTokens"] > 10
    assert first["completionTokens"] == 1
    assert (await readable(client, conversation["id"]))["completionTokens"] == 2


def anthropic(start: object, end: object) -> Reply:
    """An answer in Anthropic's format, with these counts at its start and end."""
    message: JSON = {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [], "usage": start}
    events: list[Body] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end},
        {"type": "message_stop"},
    ]
    return raw("".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode())


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ({"input_tokens": 11, "output_tokens": 1}, {"output_tokens": 7}, (11, 7)),
        ({"input_tokens": "11", "output_tokens": "1"}, {"output_tokens": "7"}, (11, 7)),
        ({"input_tokens": 11.5, "output_tokens": 1}, {"output_tokens": 7.5}, (11, 7)),
        ({"input_tokens": 11, "cache_read_input_tokens": "x"}, {"output_tokens": 7}, (11, 7)),
        ({"input_tokens": 11, "cache_creation_input_tokens": -5}, {"output_tokens": 7}, (11, 7)),
        (
            {"input_tokens": 11, "cache_creation": {"ephemeral_5m_input_tokens": math.nan}},
            {"output_tokens": 7},
            (11, 7),
        ),
        ({"input_tokens": 10**30, "output_tokens": 1}, {"output_tokens": 10**30}, (LARGEST, LARGEST)),
        ({"input_tokens": 11, "output_tokens": None}, {"output_tokens": math.inf}, (11, LARGEST)),
        ({"input_tokens": 11, "cache_read_input_tokens": LARGEST}, {"output_tokens": 7}, (LARGEST, 7)),
        (None, None, None),
        ([], "none", None),
    ],
)
async def test_counts_in_anthropics_format_cost_no_answer(
    client: Client, llm: ScriptedLLM, start: object, end: object, expected: tuple[int, int] | None
) -> None:
    url = llm.url.removesuffix("/v1")
    await steps.save_settings(client, llm, llmModel="anthropic/claude-sonnet-4-5", llmBaseUrl=url)
    llm.script(anthropic(start, end))
    conversation = await steps.create(client, "Hi")
    await settled(client, conversation["id"])

    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "Hello")
    usage = await readable(client, conversation["id"])
    assert usage["costUsd"] >= 0
    if expected is not None:
        assert (usage["promptTokens"], usage["completionTokens"]) == expected


async def paused(client: Client, conversation_id: str) -> JSON:
    """The conversation, once it is seen that it says that its limit can't hold."""
    found = await steps.until(client, conversation_id, agentState="PAUSED")
    assert found["statusReason"]["code"] == "LIMIT_REACHED"
    assert found["statusReason"]["message"].startswith(
        "The price of openai/scripted is not known, so the limit of 0.5000"
    )
    assert "maxBudgetUsd" in found["statusReason"]["message"]
    assert found["usage"]["costUsd"] is None
    return found


async def test_a_budget_that_cannot_hold_is_told_behind_each_answer(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm, maxBudgetUsd=0.5)
    conversation = await steps.create(client, "One")
    await paused(client, conversation["id"])
    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "answer to One")
    await steps.send(client, conversation["id"], "Two")
    await steps.until_said(client, conversation["id"], "AGENT", "answer to Two")
    await paused(client, conversation["id"])
    assert len(llm.requests) == 2
    await steps.save_settings(client, maxBudgetUsd=None, llmModel="openai/scripted")
    await steps.send(client, conversation["id"], "Three")
    found = await settled(client, conversation["id"])
    assert (found["statusReason"], found["usage"]["costUsd"]) == (None, None)


async def test_a_budget_that_cannot_hold_allows_one_call_for_each_message(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm, maxBudgetUsd=0.5)
    llm.script(tools(Call("one", "{}")), tools(Call("two", "{}"), said=["I go on"]), text("Done"))
    conversation = await steps.create(client, "Work")
    await paused(client, conversation["id"])
    assert len(llm.requests) == 1
    assert [event["__typename"] for event in await steps.events(client, conversation["id"])][-3:] == [
        "ToolCallEvent",
        "ToolResultEvent",
        "StateChangeEvent",
    ]
    await steps.send(client, conversation["id"], "Go on")
    await steps.until(client, conversation["id"], usage={"promptTokens": 22, "completionTokens": 14, "costUsd": None})
    await paused(client, conversation["id"])
    await steps.send(client, conversation["id"], "Go on")
    await steps.until_said(client, conversation["id"], "AGENT", "Done")
    await paused(client, conversation["id"])
    assert len(llm.requests) == 3
    assert llm.faults == []


async def test_a_budget_holds_again_with_a_model_of_known_price(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm, maxBudgetUsd=0.5)
    conversation = await steps.create(client, "One")
    await paused(client, conversation["id"])
    await steps.save_settings(client, llm, llmModel="openai/gpt-4o")
    await steps.send(client, conversation["id"], "Two")
    found = await settled(client, conversation["id"])
    # What the first answer cost nobody will ever know.
    assert (found["statusReason"], found["usage"]["costUsd"]) == (None, None)


@pytest.mark.parametrize(
    ("model", "reply", "cost"),
    [
        ("openai/gpt-4o", answer(1_000_000, 100_000), 3.5),
        ("openai/gpt-4o", answer(1_000_000, 0, prompt_tokens_details={"cached_tokens": 1_000_000}), 1.25),
        # No more can come out of a cache than was sent.
        ("openai/gpt-4o", answer(1000, 0, prompt_tokens_details={"cached_tokens": 10**9}), 0.00125),
        ("openai/gpt-4o", answer(1000, 0, prompt_tokens_details={"cached_tokens": -(10**9)}), 0.0025),
        ("openai/gpt-4o", cut("a" * 40), None),
        ("featherless_ai/featherless-ai/Qwerky-72B", answer(1000, 1000), None),
        ("fireworks_ai/whatever", answer(1000, 1000), None),
        ("together_ai/none/such", answer(1000, 1000), None),
    ],
)
async def test_costs_are_those_of_a_price_list_or_unknown(
    client: Client, llm: ScriptedLLM, model: str, reply: Reply, cost: float | None
) -> None:
    await steps.save_settings(client, llm, llmModel=model)
    llm.script(reply)
    conversation = await steps.create(client, "Hi")
    await steps.until_said(client, conversation["id"], "AGENT", "Hello" if not reply.is_cut else "a" * 40)
    usage = (await steps.get(client, conversation["id"]))["usage"]
    if reply.is_cut:
        assert 0 < usage["costUsd"] < 0.01
    elif cost is None:
        assert usage["costUsd"] is None
    else:
        assert usage["costUsd"] == pytest.approx(cost)
