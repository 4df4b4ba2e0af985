"""What the LLM is told, and what becomes of what it says."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from app.services.agent.history import INTERRUPTED
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.scripted_llm import Body, Call, Gate, Reply, ScriptedLLM, error, hold, text, tools

JSON = dict[str, Any]
KEY = "sk-test-key-0123456789"
HIDDEN = "<secret hidden>"
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def told(llm: ScriptedLLM, number: int = -1) -> list[JSON]:
    """The messages of a request."""
    return [dict(message) for message in cast("Sequence[JSON]", llm.requests[number].body["messages"])]


async def test_the_llm_is_told_the_whole_dialogue_in_the_order_of_its_turns(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    gate = Gate()
    llm.script(hold(gate, after=["One"]), text("Two"))
    conversation = await steps.create(client, "First")
    await gate.reached()
    await steps.send(client, conversation["id"], "Second, in the queue")
    gate.release()
    await steps.until_waiting(client, conversation["id"])
    await steps.send(client, conversation["id"], "Third")
    await steps.until_waiting(client, conversation["id"])
    assert [message["role"] for message in told(llm, 0)] == ["system", "user"]
    assert told(llm, 0)[1]["content"] == "First"
    assert told(llm)[1:] == [
        {"role": "user", "content": "First"},
        {"role": "assistant", "content": "One"},
        {"role": "user", "content": "Second, in the queue"},
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": "Third"},
    ]


async def test_images_reach_the_model(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    message = {"text": "What is this?", "imageUrls": [PIXEL, "https://example.com/cat.png"]}
    conversation = await steps.create(client, initialMessage=message)
    await steps.until_waiting(client, conversation["id"])
    await client.execute(
        documents.SEND,
        input={"conversationId": conversation["id"], "message": {"text": "", "imageUrls": [PIXEL]}},
    )
    await steps.until_waiting(client, conversation["id"])
    first, _, second = told(llm)[1:]
    assert first["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
    ]
    assert second["content"] == [{"type": "image_url", "image_url": {"url": PIXEL}}]
    shown = [event for event in await steps.events(client, conversation["id"]) if event["source"] == "USER"]
    assert [event["imageUrls"] for event in shown] == [[PIXEL, "https://example.com/cat.png"], [PIXEL]]


async def test_tools_that_were_asked_for_at_once_are_answered_one_by_one(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.script(tools(Call("one", "{}", "call_a"), Call("two", "not JSON", "call_b")), text("None of them is there"))
    conversation = await steps.create(client, "Try both")
    found = await steps.until_waiting(client, conversation["id"])
    log = await steps.events(client, conversation["id"])
    calls = [event for event in log if event["__typename"] == "ToolCallEvent"]
    results = [event for event in log if event["__typename"] == "ToolResultEvent"]
    assert [(call["toolName"], call["arguments"]) for call in calls] == [("one", {}), ("two", {"unparsed": "not JSON"})]
    assert [(result["isError"], result["toolCall"]["id"]) for result in results] == [
        (True, calls[0]["id"]),
        (True, calls[1]["id"]),
    ]
    asked, *answers = told(llm)[2:]
    assert [call["id"] for call in asked["tool_calls"]] == ["call_a", "call_b"]
    assert [answer["tool_call_id"] for answer in answers] == ["call_a", "call_b"]
    # Two calls of the LLM, each counted once however many tools it asked for.
    assert (found["usage"]["promptTokens"], found["usage"]["completionTokens"]) == (22, 14)


async def test_a_call_that_was_interrupted_is_told_as_such(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.script(tools(Call("one", "{}")), hold(Gate(), "Never said"))
    conversation = await steps.create(client)
    await steps.send_and_read(client, conversation["id"], "Begin")
    await client.execute(documents.STOP, input={"id": conversation["id"]})
    await steps.send(client, conversation["id"], "Go on")
    await steps.until_waiting(client, conversation["id"])
    roles = [message["role"] for message in told(llm)]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert told(llm)[4]["content"] == "Never said"
    assert told(llm)[3]["content"] != INTERRUPTED
    said = [text for _, text in await steps.said(client, conversation["id"])]
    assert said == ["Begin", "Never said", "Go on", "answer to Go on"]


@pytest.mark.parametrize("status", [400, 401, 500])
async def test_the_key_is_hidden_in_what_an_error_says(client: Client, llm: ScriptedLLM, status: int) -> None:
    await steps.save_settings(client, llm)
    llm.default = lambda _body: error(status, f"Incorrect API key provided: {KEY}.")
    conversation = await steps.create(client, "Hello")
    failed = await steps.until(client, conversation["id"], status="ERROR")
    log = str(await steps.events(client, conversation["id"]))
    assert KEY not in str(failed) + log
    assert "Incorrect API key provided" in failed["statusReason"]["message"]


async def test_the_key_is_hidden_in_titles_and_in_the_names_of_tools(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)

    def reply(body: Body) -> Reply:
        messages = cast("Sequence[JSON]", body["messages"])
        if str(messages[0]["content"]).startswith("You give a conversation its title."):
            return text(f"About {KEY}")
        return text("Done") if messages[-1]["role"] == "tool" else tools(Call(f"tool-{KEY}", "{}", f"id-{KEY}"))

    llm.default = reply
    conversation = await steps.create(client, "Hello", title=None)
    named = await steps.until(client, conversation["id"], title=f"About {HIDDEN}")
    await steps.until_waiting(client, conversation["id"])
    log = await steps.events(client, conversation["id"])
    trajectory = await client.execute(documents.TRAJECTORY, id=conversation["id"])
    assert [event["toolName"] for event in log if event["__typename"] == "ToolCallEvent"] == [f"tool-{HIDDEN}"]
    assert KEY not in str(log) + str(named) + str(trajectory)


async def test_the_pause_that_a_provider_asks_for_is_kept(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.script(error(429, "slow down", headers={"retry-after": "1"}), text("At last"))
    conversation = await steps.create(client, "Hello")
    limited = await steps.until(client, conversation["id"], agentState="RATE_LIMITED")
    assert limited["statusReason"]["messageId"] == "STATUS$ERROR_LLM_SERVICE_UNAVAILABLE"
    assert limited["statusReason"]["message"].endswith("Trying again in 1 s.")
    waiting = await steps.until_waiting(client, conversation["id"])
    assert waiting["statusReason"] is None


async def test_a_stop_ends_the_wait_for_a_rate_limit(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.default = lambda _body: error(429, "slow down", headers={"retry-after": "50"})
    conversation = await steps.create(client, "Hello")
    await steps.until(client, conversation["id"], agentState="RATE_LIMITED")
    await client.execute(documents.STOP, input={"id": conversation["id"]})
    llm.default = lambda _body: text("Now")
    await steps.send(client, conversation["id"], "Again")
    await steps.until_waiting(client, conversation["id"])
    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "Now")


@pytest.mark.parametrize(
    ("pieces", "kept"),
    [
        (["null \x00 in ", "it"], "null  in it"),
        (["half \ud83d", "\ude42 and half"], "half 🙂 and half"),
        (["lone \ud83d", " half"], "lone \ufffd half"),
    ],
)
async def test_text_that_no_database_takes_is_mended(
    client: Client, llm: ScriptedLLM, pieces: list[str], kept: str
) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    gate = Gate()
    llm.script(hold(gate, after=[*pieces, "."]))
    async with client.subscribe(documents.WATCH_DELTAS, id=conversation["id"]) as deltas:
        await steps.send(client, conversation["id"], "Say it")
        await gate.reached()
        gate.release()
        heard = ""
        while not heard.endswith("."):
            heard += (await deltas.next())["messageDeltas"]["text"]
        await steps.until_waiting(client, conversation["id"])
    assert heard == f"{kept}."
    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", f"{kept}.")
    document = (await client.execute(documents.TRAJECTORY, id=conversation["id"]))["conversation"]["trajectory"]
    played = await steps.create(client, replay=document)
    await steps.until_waiting(client, played["id"])
    assert await steps.said(client, played["id"]) == await steps.said(client, conversation["id"])


async def test_an_error_with_a_null_character_is_still_told(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.default = lambda _body: error(401, "no\x00entry")
    conversation = await steps.create(client, "Hello")
    failed = await steps.until(client, conversation["id"], status="ERROR")
    assert failed["statusReason"]["messageId"] == "STATUS$ERROR_LLM_AUTHENTICATION"
    assert "\x00" not in failed["statusReason"]["message"]
