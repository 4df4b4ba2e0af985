"""The agent's loop against a scripted LLM, over HTTP."""

from typing import Any, cast

import pytest

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.scripted_llm import Call, Reply, ScriptedLLM, cut, error, text, tools

JSON = dict[str, Any]
KEY = "sk-test-key-0123456789"


@pytest.mark.parametrize(
    ("reply", "message_id"),
    [
        (error(401, "bad key"), "STATUS$ERROR_LLM_AUTHENTICATION"),
        (error(402, "pay first"), "STATUS$ERROR_LLM_OUT_OF_CREDITS"),
        (error(429, "quota", code="insufficient_quota"), "STATUS$ERROR_LLM_OUT_OF_CREDITS"),
        (error(500, "broken"), "STATUS$ERROR_LLM_INTERNAL_SERVER_ERROR"),
        (error(503, "overloaded"), "STATUS$ERROR_LLM_SERVICE_UNAVAILABLE"),
        (error(400, "refused", code="content_policy_violation"), "STATUS$ERROR_LLM_CONTENT_POLICY_VIOLATION"),
        (cut("half an "), "STATUS$ERROR_LLM_SERVICE_UNAVAILABLE"),
    ],
)
async def test_a_fault_of_the_llm_becomes_the_reason_and_the_next_message_goes_on(
    client: Client, llm: ScriptedLLM, reply: Reply, message_id: str
) -> None:
    await steps.save_settings(client, llm)
    llm.default = lambda _body: reply
    conversation = await steps.create(client, "Hello")
    failed = await steps.until(client, conversation["id"], status="ERROR")
    assert failed["statusReason"]["messageId"] == message_id
    assert failed["agentState"] is None
    last = (await steps.events(client, conversation["id"]))[-1]
    assert (last["agentState"], last["problem"]["messageId"]) == ("ERROR", message_id)
    llm.default = lambda _body: text("Back")
    await steps.send(client, conversation["id"], "Again")
    found = await steps.until_waiting(client, conversation["id"])
    assert found["statusReason"] is None
    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "Back")


async def test_a_rate_limit_is_waited_for(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.script(error(429, "slow down"), error(429, "slow down"), text("At last"))
    conversation = await steps.create(client, "Hello")
    await steps.until_waiting(client, conversation["id"])
    log = await steps.events(client, conversation["id"])
    states = [event["agentState"] for event in log if event["__typename"] == "StateChangeEvent"]
    assert states == ["RUNNING", "RATE_LIMITED", "RUNNING", "RATE_LIMITED", "RUNNING", "AWAITING_USER_INPUT"]
    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "At last")


async def test_a_rate_limit_that_does_not_end_is_given_up(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.default = lambda _body: error(429, "slow down")
    conversation = await steps.create(client, "Hello")
    failed = await steps.until(client, conversation["id"], status="ERROR")
    assert failed["statusReason"]["messageId"] == "STATUS$ERROR_LLM_SERVICE_UNAVAILABLE"
    assert len(llm.requests) == 7


async def test_a_tool_that_is_not_there_is_told_to_the_agent(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.script(tools(Call("bash", '{"command": "ls"}'), said=["Let me ", "look."]), text("I have no tools"))
    conversation = await steps.create(client, "List the files")
    found = await steps.until_waiting(client, conversation["id"])
    log = await steps.events(client, conversation["id"])
    call, result = log[2], log[3]
    assert (call["toolName"], call["arguments"], call["thought"]) == ("bash", {"command": "ls"}, "Let me look.")
    assert (result["isError"], result["toolCall"]["id"]) == (True, call["id"])
    told = cast("list[JSON]", llm.requests[1].body["messages"])
    assert told[-2]["tool_calls"][0]["function"]["name"] == "bash"
    assert told[-1] == {"role": "tool", "tool_call_id": "call_1", "content": result["output"]}
    assert (found["usage"]["promptTokens"], found["usage"]["completionTokens"]) == (22, 14)


async def test_the_limit_of_calls_pauses_and_the_next_message_goes_on(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm, maxIterations=2)
    llm.default = lambda _body: tools(Call("again", "{}"))
    conversation = await steps.create(client, "Loop")
    paused = await steps.until(client, conversation["id"], agentState="PAUSED")
    assert (paused["status"], paused["statusReason"]["code"]) == ("RUNNING", "LIMIT_REACHED")
    assert len(llm.requests) == 2
    llm.default = lambda _body: text("Done")
    await steps.send(client, conversation["id"], "Go on")
    assert (await steps.until_waiting(client, conversation["id"]))["statusReason"] is None


async def test_the_budget_pauses_and_the_next_message_goes_on(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm, llmModel="openai/gpt-4o", maxBudgetUsd=0.0000001)
    llm.script(tools(Call("dear", "{}")))
    conversation = await steps.create(client, "Spend")
    paused = await steps.until(client, conversation["id"], agentState="PAUSED")
    assert paused["statusReason"]["code"] == "LIMIT_REACHED"
    assert paused["usage"]["costUsd"] > 0
    await steps.send(client, conversation["id"], "Go on")
    await steps.until_waiting(client, conversation["id"])
    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "answer to Go on")


async def test_an_unknown_price_is_null(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client, "Hello")
    found = await steps.until_waiting(client, conversation["id"])
    assert found["usage"] == {"promptTokens": 11, "completionTokens": 7, "costUsd": None}


async def test_the_callers_key_is_hidden_where_the_model_repeats_it(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    half = len(KEY) // 2
    llm.script(tools(Call("leak", f'{{"key": "{KEY}"}}')), text("It is ", KEY[:half], KEY[half:], "!"))
    async with client.subscribe(documents.WATCH_DELTAS, id=conversation["id"]) as watching:
        await steps.send(client, conversation["id"], "What is the key?")
        await steps.until_waiting(client, conversation["id"])
        pieces = ""
        while not pieces.endswith("!"):
            pieces += (await watching.next())["messageDeltas"]["text"]
    log = str(await steps.events(client, conversation["id"]))
    trajectory = str(await client.execute(documents.TRAJECTORY, id=conversation["id"]))
    for shown in (pieces, log, trajectory):
        assert KEY not in shown
        assert "<secret hidden>" in shown
