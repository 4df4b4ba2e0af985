"""Watching: statuses, events, and the answer that is being written."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from app.models.database.access import DirectTransaction
from app.services.push.wakeups import deltas_topic
from tests.support import documents, steps
from tests.support.client import Client, RequestFailed, Subscription
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import Gate, ScriptedLLM, hold, text
from tests.support.server import RunningServer

JSON = dict[str, Any]


def state(change: JSON) -> tuple[str | None, str | None, str | None]:
    """Previous status, status, agent state."""
    found = change["conversationStatusChanged"]
    return found["previousStatus"], found["conversation"]["status"], found["conversation"]["agentState"]


async def take(subscription: Subscription, count: int) -> list[JSON]:
    return [await subscription.next() for _ in range(count)]


async def test_statuses_begin_with_a_snapshot_and_follow_every_change_in_order(
    client: Client, stranger: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    async with (
        client.subscribe(documents.WATCH_STATUS) as everything,
        client.subscribe(documents.WATCH_STATUS, ids=[conversation["id"]]) as one,
        stranger.subscribe(documents.WATCH_STATUS, ids=[conversation["id"]]) as foreign,
        stranger.subscribe(documents.WATCH_STATUS) as foreign_all,
    ):
        for watching in (everything, one):
            assert state(await watching.next()) == (None, "RUNNING", "AWAITING_USER_INPUT")
        await steps.send(client, conversation["id"], "Hello")
        await steps.until_waiting(client, conversation["id"])
        await client.execute(documents.STOP, input={"id": conversation["id"]})
        await client.execute(documents.START, input={"id": conversation["id"]})
        await steps.until_waiting(client, conversation["id"])
        await client.execute(documents.DELETE, input={"id": conversation["id"]})
        for watching in (everything, one):
            assert [state(change) for change in await take(watching, 5)] == [
                ("RUNNING", "RUNNING", "RUNNING"),
                ("RUNNING", "RUNNING", "AWAITING_USER_INPUT"),
                ("RUNNING", "STOPPED", None),
                ("STOPPED", "STARTING", None),
                ("STARTING", "RUNNING", "AWAITING_USER_INPUT"),
            ]
            last = (await watching.next())["conversationStatusChanged"]
            assert (last["conversation"], last["deletedConversationId"]) == (None, conversation["id"])
        assert await foreign.is_silent()
        assert await foreign_all.is_silent(0.1)


async def test_events_replay_and_follow_without_gap_or_double_across_a_reconnect(
    client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client, "1")
    cursor, seen = "", list[int]()
    for turn in range(2, 5):
        async with client.subscribe(documents.WATCH_EVENTS, id=conversation["id"], after=cursor) as watching:
            for _ in range(3):
                edge = (await watching.next())["conversationEvents"]
                cursor = edge["cursor"]
                seen.append(edge["node"]["sequence"])
        await steps.send(client, conversation["id"], str(turn))
    await steps.until_waiting(client, conversation["id"])
    log = await steps.events(client, conversation["id"])
    async with client.subscribe(documents.WATCH_EVENTS, id=conversation["id"], after=cursor) as watching:
        seen += [edge["conversationEvents"]["node"]["sequence"] for edge in await take(watching, len(log) - len(seen))]
        assert await watching.is_silent()
    assert seen == [event["sequence"] for event in log] == list(range(1, len(log) + 1))


async def test_a_cursor_behind_the_end_of_the_log_is_refused(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    long, short = await steps.create(client, "Hello"), await steps.create(client)
    for conversation in (long, short):
        await steps.until_waiting(client, conversation["id"])
    last = (await client.execute(documents.EVENTS, id=long["id"], last=1))["conversation"]["events"]["edges"][0]
    async with client.subscribe(documents.WATCH_EVENTS, id=short["id"], after=last["cursor"]) as watching:
        with pytest.raises(RequestFailed) as raised:
            await watching.next()
    [error] = raised.value.errors
    assert (error["extensions"]["code"], error["message"]) == (
        "INVALID_INPUT",
        "The cursor is not of this log, which ends before it.",
    )


async def test_without_a_cursor_only_new_events_come(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client, "Old")
    await steps.until_waiting(client, conversation["id"])
    async with client.subscribe(documents.WATCH_EVENTS, id=conversation["id"]) as watching:
        assert await watching.is_silent()
        await steps.send(client, conversation["id"], "New")
        assert (await watching.next())["conversationEvents"]["node"]["text"] == "New"


async def test_the_pieces_of_an_answer_add_up_to_it(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    llm.script(text(*"Hello Ada, how are you?", pause_seconds=0.01))
    async with client.subscribe(documents.WATCH_DELTAS, id=conversation["id"]) as watching:
        await asyncio.sleep(0.2)
        await steps.send(client, conversation["id"], "Hi")
        await steps.until_waiting(client, conversation["id"])
        pieces = list[JSON]()
        while "".join(piece["text"] for piece in pieces) != "Hello Ada, how are you?":
            pieces.append((await watching.next())["messageDeltas"])
    assert len(pieces) > 1
    assert len({piece["answerId"] for piece in pieces}) == 1


async def test_an_answer_is_written_down_once_however_many_pieces_it_has(
    client: Client, llm: ScriptedLLM, server: RunningServer
) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client, title="Counting")
    await steps.until_waiting(client, conversation["id"])
    gate = Gate()
    llm.script(hold(gate, "0", after=[f" {number}" for number in range(1, 200)]))
    await steps.send(client, conversation["id"], "Count")
    await gate.reached()
    direct, commits = server.parley.database.direct, 0
    transaction = direct.transaction

    @asynccontextmanager
    async def counted() -> AsyncGenerator[DirectTransaction]:
        nonlocal commits
        async with transaction() as begun:
            yield begun
        commits += 1

    # The server of this test is gone with it.
    direct.transaction = counted
    gate.release()
    await steps.until_waiting(client, conversation["id"])
    assert commits == 1
    assert ("AGENT", " ".join(map(str, range(200)))) in await steps.said(client, conversation["id"])


async def test_thirty_subscribers_get_the_same(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    gate = Gate()
    llm.script(hold(gate, "be", after=["gin"]))
    conversation = await steps.create(client, "Hello")
    await gate.reached()
    async with client.socket() as socket:
        watching = [await socket.subscribe(documents.WATCH_EVENTS, id=conversation["id"], after="") for _ in range(30)]
        gate.release()
        logs = [await take(subscription, 4) for subscription in watching]
    assert all(log == logs[0] for log in logs)


@pytest.mark.parametrize("document", [documents.WATCH_EVENTS, documents.WATCH_DELTAS])
async def test_what_is_not_the_callers_cannot_be_watched(
    client: Client, stranger: Client, llm: ScriptedLLM, document: str
) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client, "Mine")
    await steps.until_waiting(client, conversation["id"])
    for given in (conversation["id"], "nonsense"):
        async with stranger.subscribe(document, id=given) as watching:
            with pytest.raises(RequestFailed) as raised:
                await watching.next()
        assert raised.value.errors[0]["extensions"]["code"] == "NOT_FOUND"


async def test_who_comes_in_the_middle_of_an_answer_hears_the_rest_of_it(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    gate = Gate()
    llm.script(hold(gate, "Once upon ", "a time ", after=["there ", "was."]))
    conversation = await steps.create(client, "Tell me a story")
    await gate.reached()
    async with client.subscribe(documents.WATCH_DELTAS, id=conversation["id"]) as watching:
        async with asyncio.timeout(WAIT_SECONDS):
            while not server.parley.wakeups.has_listener(deltas_topic(UUID(conversation["id"]))):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        gate.release()
        rest = ""
        while not rest.endswith("was."):
            rest += (await watching.next())["messageDeltas"]["text"]
    # What was said when the subscriber came may still be on its way.
    assert "Once upon a time there was.".endswith(rest)
    await steps.until_waiting(client, conversation["id"])
    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "Once upon a time there was.")


async def test_every_stream_of_a_conversation_ends_with_it(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.script(hold(Gate(), "This is "))
    conversation = await steps.create(client, "Hello")
    await steps.until(client, conversation["id"], agentState="RUNNING")
    async with (
        client.subscribe(documents.WATCH_EVENTS, id=conversation["id"], after="") as events,
        client.subscribe(documents.WATCH_DELTAS, id=conversation["id"]) as deltas,
        client.subscribe(documents.WATCH_STATUS) as statuses,
    ):
        assert (await statuses.next())["conversationStatusChanged"]["conversation"]["id"] == conversation["id"]
        assert (await events.next())["conversationEvents"]["node"]["text"] == "Hello"
        await client.execute(documents.DELETE, input={"id": conversation["id"]})
        await events.until_end()
        await deltas.until_end()
        gone = (await statuses.next())["conversationStatusChanged"]
        assert (gone["deletedConversationId"], gone["previousStatus"]) == (conversation["id"], "RUNNING")
        assert await statuses.is_silent()
