"""A history that outgrows its model is condensed in what is sent; the log stays as it is."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from app.services.agent.tools import Tool, Toolbox, ToolContext, ToolOutput
from app.services.llm.base import ToolSpec
from tests.support import steps
from tests.support.client import Client
from tests.support.scripted_llm import Call, Reply, ScriptedLLM, error, text, tools
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
MAX_TOKENS = 2000
# About a third of that.
LONG = "word " * 460
LEAD = "What happened until here, in short:"


def toolbox() -> Toolbox:
    async def read(_context: ToolContext, _arguments: Mapping[str, Any]) -> ToolOutput:
        return ToolOutput("line\n" * 1200)

    return Toolbox([Tool(ToolSpec("read", "Read.", {"type": "object"}), read)])


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str) -> Iterator[RunningServer]:
    with running_server(
        data_dir, database_url=database_url, history_max_tokens=MAX_TOKENS, toolbox=toolbox()
    ) as started:
        yield started


def is_summary(body: Mapping[str, Any]) -> bool:
    return "You condense the history" in body["messages"][0]["content"]


def answering(llm: ScriptedLLM, summary: Reply) -> None:
    """Answer everything, and requests for a summary with this."""
    llm.default = lambda body: summary if is_summary(body) else text(f"Answered. {LONG}")


def asked(llm: ScriptedLLM) -> list[list[JSON]]:
    """The messages of each request for an answer."""
    return [cast("list[JSON]", seen.body["messages"]) for seen in llm.requests if not is_summary(seen.body)]


def summaries(llm: ScriptedLLM) -> int:
    return sum(is_summary(seen.body) for seen in llm.requests)


async def talk(client: Client, conversation_id: str, *said: str) -> None:
    for words in said:
        await steps.send(client, conversation_id, words)
        await steps.until_waiting(client, conversation_id)


async def test_a_long_history_is_summarised_once_and_the_log_is_whole(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    answering(llm, text("They spoke of words."))
    conversation = await steps.create(client, "The very first wish")
    await steps.until_waiting(client, conversation["id"])
    await talk(client, conversation["id"], "second", "third", "fourth")
    told = asked(llm)[-1]
    assert told[0]["role"] == "system"
    assert told[1]["content"] == "The very first wish"
    assert told[2]["content"] == f"{LEAD}\n\nThey spoke of words."
    assert told[-1]["content"] == "fourth"
    assert sum(len(str(message["content"])) for message in told) / 3.5 < MAX_TOKENS
    made = summaries(llm)
    assert made >= 1
    said = await steps.said(client, conversation["id"])
    assert [words for source, words in said if source == "USER"] == ["The very first wish", "second", "third", "fourth"]
    assert [words for source, words in said if source == "AGENT"] == [f"Answered. {LONG}"] * 4
    llm.default = lambda body: text("They spoke on.") if is_summary(body) else text("Short.")
    await talk(client, conversation["id"], "fifth")
    assert summaries(llm) == made
    assert LEAD in asked(llm)[-1][2]["content"]


async def test_its_tokens_are_counted(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    answering(llm, text("Short."))
    conversation = await steps.create(client, "first")
    await steps.until_waiting(client, conversation["id"])
    await talk(client, conversation["id"], "second", "third", "fourth")
    usage = (await steps.get(client, conversation["id"]))["usage"]
    assert summaries(llm) >= 1
    assert usage["promptTokens"] == 11 * len(llm.requests)


async def test_where_no_summary_is_to_be_had_a_digest_does(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    answering(llm, error(400, "no summaries today"))
    conversation = await steps.create(client, "first")
    await steps.until_waiting(client, conversation["id"])
    await talk(client, conversation["id"], "second", "third", "fourth")
    told = asked(llm)[-1]
    assert told[2]["content"].startswith(f"{LEAD}\n\nUSER: first\nAGENT: Answered. word word")
    assert told[-1]["content"] == "fourth"


async def test_long_outputs_are_shortened_in_what_is_sent(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    replies = iter([tools(Call("read", f'{{"n": {number}}}')) for number in range(6)])
    llm.default = lambda body: text("In short.") if is_summary(body) else next(replies, text("Read"))
    conversation = await steps.create(client, "Read it all")
    await steps.until_waiting(client, conversation["id"])
    assert len(asked(llm)) == 7
    for told in asked(llm):
        assert sum(len(str(message.get("content"))) for message in told) / 3.5 < MAX_TOKENS
        calls = [cast("list[JSON]", message["tool_calls"]) for message in told if message.get("tool_calls")]
        called = {call["id"] for group in calls for call in group}
        assert {message["tool_call_id"] for message in told if message["role"] == "tool"} <= called
    log = await steps.events(client, conversation["id"])
    outputs = [event["output"] for event in log if event["__typename"] == "ToolResultEvent"]
    assert outputs == ["line\n" * 1200] * 6


async def test_a_refusal_for_its_length_is_answered_by_less(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    answering(llm, text("Short."))
    conversation = await steps.create(client, f"first {LONG[:1500]}")
    await steps.until_waiting(client, conversation["id"])
    llm.reset()
    too_long = error(400, "This model's maximum context length is 100 tokens.", code="context_length_exceeded")
    replies = iter([too_long])
    llm.default = lambda body: text("In short.") if is_summary(body) else next(replies, text("Fits now"))
    await steps.send(client, conversation["id"], "second")
    await steps.until_waiting(client, conversation["id"])
    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "Fits now")
    before, after = asked(llm)
    assert len(str(after)) < len(str(before))
    assert after[-1]["content"] == "second"


async def test_a_refusal_that_does_not_end_is_the_reason(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.default = lambda _body: error(400, "prompt is too long", code="context_length_exceeded")
    conversation = await steps.create(client, "first")
    failed = await steps.until(client, conversation["id"], status="ERROR")
    assert "too long" in failed["statusReason"]["message"]
    await asyncio.sleep(0)
    assert len(asked(llm)) == 2


async def test_no_redirect_of_a_summary_or_a_title_is_followed(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    with ScriptedLLM() as secret:
        away = Reply(status=307, body={}, headers={"location": f"{secret.url}/chat/completions"})

        def answer(body: Mapping[str, Any]) -> Reply:
            is_answer = "tools" in body and not is_summary(body)
            return text(f"Answered. {LONG}") if is_answer else away

        llm.default = answer
        conversation = await steps.create(client, "The very first wish", title=None)
        await steps.until_waiting(client, conversation["id"])
        await talk(client, conversation["id"], "second", "third", "fourth")
        assert len(secret.requests) == 0
    assert summaries(llm) > 0
    # A title was asked for, and the message's beginning took its place.
    assert any("tools" not in seen.body and not is_summary(seen.body) for seen in llm.requests)
    found = await steps.get(client, conversation["id"])
    assert found["title"] == "The very first wish"
