"""Confirmation: a tool call waits for the user's word, and is carried out at most once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from app.services.agent.tools import Tool, Toolbox, ToolContext, ToolOutput
from app.services.llm.base import ToolSpec
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import Call, ScriptedLLM, text, tools
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
IDLE_SECONDS = 600.0


class Time:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.offset


class Counter:
    """A tool that counts what it was asked to do."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def toolbox(self) -> Toolbox:
        schema = {"type": "object", "properties": {"what": {"type": "string"}}}
        return Toolbox([Tool(ToolSpec("do", "Do something.", schema), self._do)])

    async def _do(self, _context: ToolContext, arguments: Mapping[str, Any]) -> ToolOutput:
        self.done.append(arguments["what"])
        return ToolOutput(f"did {arguments['what']}")


@pytest.fixture(scope="module")
def counter() -> Counter:
    return Counter()


@pytest.fixture(scope="module")
def time() -> Time:
    return Time()


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str, counter: Counter, time: Time) -> Iterator[RunningServer]:
    with running_server(
        data_dir,
        database_url=database_url,
        clock=time,
        toolbox=counter.toolbox(),
        idle_close_seconds=IDLE_SECONDS,
    ) as started:
        yield started


@pytest.fixture(autouse=True)
def nothing_done(counter: Counter, time: Time) -> None:
    counter.done.clear()
    time.offset = timedelta()


def do(what: str) -> Call:
    return Call("do", f'{{"what": "{what}"}}')


async def waiting(client: Client, llm: ScriptedLLM, *what: str) -> tuple[str, list[str]]:
    """A conversation whose calls wait for the user; its id, and those of the calls."""
    await steps.save_settings(client, llm, confirmationMode=True)
    llm.script(tools(*map(do, what)), text("Done"))
    conversation = await steps.create(client, "Do it")
    await steps.until(client, conversation["id"], agentState="AWAITING_USER_CONFIRMATION")
    return conversation["id"], await calls(client, conversation["id"])


async def calls(client: Client, conversation_id: str) -> list[str]:
    log = await steps.events(client, conversation_id)
    return [event["id"] for event in log if event["__typename"] == "ToolCallEvent"]


async def results(client: Client, conversation_id: str) -> list[tuple[str, bool]]:
    log = await steps.events(client, conversation_id)
    return [(event["output"], event["isError"]) for event in log if event["__typename"] == "ToolResultEvent"]


async def until(question: Callable[[], Awaitable[object]]) -> None:
    """Ask until the answer is yes."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not await question():  # noqa: ASYNC110  The answer is in another thread.
            await asyncio.sleep(0.02)


async def respond(
    client: Client, conversation_id: str, call: str, *, approved: bool, reason: str | None = None
) -> JSON:
    given = {"conversationId": conversation_id, "toolCallId": call, "approved": approved, "reason": reason}
    return cast("JSON", (await client.execute(documents.RESPOND, input=given))["respondToToolCall"])


async def refusal(client: Client, conversation_id: str, call: str, reason: str | None = None) -> str:
    """The kind of the one error of an answer that is not taken."""
    answer = await respond(client, conversation_id, call, approved=True, reason=reason)
    [error] = answer["userErrors"]
    assert answer["conversation"] is None
    return cast("str", error["__typename"])


async def test_an_allowed_call_is_carried_out(client: Client, llm: ScriptedLLM, counter: Counter) -> None:
    conversation_id, [call] = await waiting(client, llm, "one")
    assert counter.done == []
    answer = await respond(client, conversation_id, call, approved=True)
    assert (answer["userErrors"], answer["conversation"]["agentState"]) == ([], "RUNNING")
    await steps.until_waiting(client, conversation_id)
    assert counter.done == ["one"]
    assert await results(client, conversation_id) == [("did one", False)]
    log = await steps.events(client, conversation_id)
    states = [event["agentState"] for event in log if event["__typename"] == "StateChangeEvent"]
    assert states[-3:] == ["AWAITING_USER_CONFIRMATION", "RUNNING", "AWAITING_USER_INPUT"]


async def test_the_reason_of_a_refusal_is_told_to_the_agent(client: Client, llm: ScriptedLLM, counter: Counter) -> None:
    conversation_id, [call] = await waiting(client, llm, "one")
    await respond(client, conversation_id, call, approved=False, reason="  Not on a Friday. ")
    await steps.until_waiting(client, conversation_id)
    assert counter.done == []
    assert await results(client, conversation_id) == [("The user refused this call. Not on a Friday.", True)]
    told = cast("list[JSON]", llm.requests[-1].body["messages"])
    assert (told[-1]["role"], told[-1]["content"]) == ("tool", "The user refused this call. Not on a Friday.")


async def test_several_calls_are_asked_for_one_by_one(client: Client, llm: ScriptedLLM, counter: Counter) -> None:
    conversation_id, [first, second] = await waiting(client, llm, "one", "two")
    assert await refusal(client, conversation_id, second) == "InvalidStateError"
    await respond(client, conversation_id, first, approved=False)
    await until(lambda: results(client, conversation_id))
    await steps.until(client, conversation_id, agentState="AWAITING_USER_CONFIRMATION")
    await respond(client, conversation_id, second, approved=True)
    await steps.until_waiting(client, conversation_id)
    assert counter.done == ["two"]
    assert await results(client, conversation_id) == [("The user refused this call.", True), ("did two", False)]


async def test_answering_twice_is_refused_and_changes_nothing(
    client: Client, llm: ScriptedLLM, counter: Counter
) -> None:
    conversation_id, [call] = await waiting(client, llm, "one")
    answers = await asyncio.gather(*(respond(client, conversation_id, call, approved=True) for _ in range(5)))
    taken = [answer for answer in answers if not answer["userErrors"]]
    assert len(taken) == 1
    await steps.until_waiting(client, conversation_id)
    before = await steps.events(client, conversation_id)
    assert await refusal(client, conversation_id, call) == "InvalidStateError"
    assert await steps.events(client, conversation_id) == before
    assert counter.done == ["one"]


async def test_what_does_not_wait_cannot_be_answered(client: Client, stranger: Client, llm: ScriptedLLM) -> None:
    conversation_id, [call] = await waiting(client, llm, "one")
    before = await steps.events(client, conversation_id)
    other = await steps.create(client)
    assert await refusal(client, other["id"], call) == "NotFoundError"
    assert await refusal(client, "nonsense", call) == "NotFoundError"
    assert await refusal(client, conversation_id, "nonsense") == "NotFoundError"
    assert await refusal(client, conversation_id, f"{conversation_id}:1") == "NotFoundError"
    assert await refusal(client, conversation_id, f"{conversation_id}:999") == "NotFoundError"
    assert await refusal(client, conversation_id, call, "x" * 2001) == "InvalidInputError"
    assert await refusal(stranger, conversation_id, call) == "NotFoundError"
    assert await steps.events(client, conversation_id) == before
    assert (await steps.get(client, conversation_id))["agentState"] == "AWAITING_USER_CONFIRMATION"


async def test_a_stop_ends_the_wait(client: Client, llm: ScriptedLLM, counter: Counter) -> None:
    conversation_id, [call] = await waiting(client, llm, "one")
    await client.execute(documents.STOP, input={"id": conversation_id})
    assert await refusal(client, conversation_id, call) == "InvalidStateError"
    llm.reset()
    llm.script(text("Never mind"))
    await steps.send(client, conversation_id, "Leave it")
    await steps.until_waiting(client, conversation_id)
    assert counter.done == []
    assert (await steps.said(client, conversation_id))[-1] == ("AGENT", "Never mind")


async def test_a_deletion_ends_the_wait(client: Client, llm: ScriptedLLM) -> None:
    conversation_id, [call] = await waiting(client, llm, "one")
    await client.execute(documents.DELETE, input={"id": conversation_id})
    assert await refusal(client, conversation_id, call) == "NotFoundError"


async def test_a_message_meanwhile_is_answered_afterwards(client: Client, llm: ScriptedLLM) -> None:
    conversation_id, [call] = await waiting(client, llm, "one")
    llm.script(text("Answered too"))
    await steps.send(client, conversation_id, "And then?")
    assert (await steps.get(client, conversation_id))["agentState"] == "AWAITING_USER_CONFIRMATION"
    await respond(client, conversation_id, call, approved=True)
    await steps.until_waiting(client, conversation_id)

    async def is_answered() -> bool:
        return ("AGENT", "Answered too") in await steps.said(client, conversation_id)

    await until(is_answered)


async def test_turning_the_mode_off_leaves_what_waits_waiting(
    client: Client, llm: ScriptedLLM, counter: Counter
) -> None:
    conversation_id, [call] = await waiting(client, llm, "one")
    await steps.save_settings(client, llm, confirmationMode=False)
    assert (await steps.get(client, conversation_id))["agentState"] == "AWAITING_USER_CONFIRMATION"
    await respond(client, conversation_id, call, approved=True)
    await steps.until_waiting(client, conversation_id)
    assert counter.done == ["one"]


async def test_it_makes_no_room_but_does_not_wait_for_ever(
    client: Client, llm: ScriptedLLM, server: RunningServer, time: Time
) -> None:
    conversation_id, _ = await waiting(client, llm, "one")
    for _ in range(3):
        await steps.until_waiting(client, (await steps.create(client))["id"])
    assert (await steps.get(client, conversation_id))["status"] == "RUNNING"
    time.offset = timedelta(seconds=IDLE_SECONDS + 1)
    await asyncio.to_thread(server.call, server.parley.housekeeping.close_idle())
    closed = await steps.until(client, conversation_id, status="STOPPED")
    assert closed["statusReason"]["code"] == "IDLE_TIMEOUT"
