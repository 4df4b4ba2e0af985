"""Many who watch the same: executed once for all of them, and each gets what it would have got alone."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from app.services.push.wakeups import deltas_topic, events_topic
from tests.support import documents, steps
from tests.support.client import Client, RequestFailed, Socket, Subscription
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import ScriptedLLM, text
from tests.support.server import RunningServer
from tests.support.statements import counted
from tests.support.wire import ready, reluctant, subscribe

JSON = dict[str, Any]
WATCHERS = 20
SOCKETS = 4
# What stopping and starting makes of a status; so often, with much text, it is more than a socket and a queue hold.
CYCLE = ["STOPPED", "STARTING", "RUNNING"]
CYCLES = 10
# Each execution reads the log with a statement of its own.
WATCH_LOG = """
subscription ($ids: [ID!], $last: Int) { conversationStatusChanged(conversationIds: $ids) {
  conversation { id status events(last: $last) { nodes { sequence } } } previousStatus occurredAt
} }
"""


@asynccontextmanager
async def sockets(client: Client) -> AsyncGenerator[list[Socket]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client.socket()) for _ in range(SOCKETS)]


async def watch(opened: list[Socket], query: str, count: int = WATCHERS, **variables: object) -> list[Subscription]:
    """Several on each socket."""
    return [await opened[number % SOCKETS].subscribe(query, **variables) for number in range(count)]


async def until_followed_by(server: RunningServer, count: int) -> None:
    """Return once that many executions follow statuses, whoever they are for."""

    async def followers() -> int:
        tails = getattr(server.parley.services.status, "_tails").values()  # noqa: B009  A look inside.
        return sum(getattr(tail, "_followers") for tail in tails)  # noqa: B009  As above.

    async with asyncio.timeout(WAIT_SECONDS):
        while await asyncio.to_thread(server.call, followers()) != count:  # noqa: ASYNC110  It is another loop's.
            await asyncio.sleep(0.02)


async def until_listeners(server: RunningServer, topic: str, count: int) -> None:
    """Return once that many executions listen."""

    async def listeners() -> int:
        local = getattr(server.parley.wakeups, "_local", server.parley.wakeups)
        return len(getattr(local, "_listeners").get(topic, ()))  # noqa: B009  A look inside.

    async with asyncio.timeout(WAIT_SECONDS):
        while await asyncio.to_thread(server.call, listeners()) != count:  # noqa: ASYNC110  It is another loop's.
            await asyncio.sleep(0.02)


async def waiting(client: Client, llm: ScriptedLLM) -> str:
    """The id of a conversation that waits for input."""
    await steps.save_settings(client, llm)
    conversation = await steps.create(client, "Hello")
    await steps.until_waiting(client, conversation["id"])
    return str(conversation["id"])


async def stop_and_start(client: Client, conversation_id: str) -> None:
    await client.execute(documents.STOP, input={"id": conversation_id})
    await client.execute(documents.START, input={"id": conversation_id})
    await steps.until_waiting(client, conversation_id)


def reads_of_logs(statements: list[str]) -> int:
    return sum("FROM event" in statement for statement in statements)


async def test_a_change_is_executed_once_for_all_who_watch_the_same(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    conversation_id = await waiting(client, llm)
    with counted(server) as statements:
        async with sockets(client) as opened:
            watching = await watch(opened, WATCH_LOG, ids=[conversation_id], last=1)
            snapshots = [await subscription.next() for subscription in watching]
            await until_followed_by(server, 1)
            assert all(snapshot == snapshots[0] for snapshot in snapshots)
            assert reads_of_logs(statements) == WATCHERS
            await client.execute(documents.STOP, input={"id": conversation_id})
            changes = [await subscription.next() for subscription in watching]
        assert changes[0]["conversationStatusChanged"]["conversation"]["status"] == "STOPPED"
        assert all(change == changes[0] for change in changes)
        assert reads_of_logs(statements) == WATCHERS + 1
    await until_followed_by(server, 0)


async def test_what_has_other_variables_is_executed_for_itself(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    conversation_id = await waiting(client, llm)
    with counted(server) as statements:
        async with sockets(client) as opened:
            groups = [await watch(opened, WATCH_LOG, 3, ids=[conversation_id], last=last) for last in (1, 2)]
            for subscription in (*groups[0], *groups[1]):
                await subscription.next()
            await until_followed_by(server, 2)
            snapshots = reads_of_logs(statements)
            await client.execute(documents.STOP, input={"id": conversation_id})
            for last, group in enumerate(groups, 1):
                for subscription in group:
                    change = (await subscription.next())["conversationStatusChanged"]
                    assert len(change["conversation"]["events"]["nodes"]) == last
        assert reads_of_logs(statements) == snapshots + 2


async def test_another_operation_of_the_same_document_is_executed_for_itself(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    conversation_id = await waiting(client, llm)
    query = """
    subscription A { conversationStatusChanged { a: previousStatus } }
    subscription B { conversationStatusChanged { b: previousStatus } }
    """
    async with ready(client) as wire:
        for name in ("A", "B"):
            await wire.send(subscribe(name, query, operationName=name))
            assert (await wire.receive())["id"] == name
        await until_followed_by(server, 2)
        await client.execute(documents.STOP, input={"id": conversation_id})
        heard = {message["id"]: message["payload"]["data"] for message in [await wire.receive(), await wire.receive()]}
    assert heard == {name: {"conversationStatusChanged": {name.lower(): "RUNNING"}} for name in ("A", "B")}


async def test_callers_share_nothing(server: RunningServer, client: Client, stranger: Client, llm: ScriptedLLM) -> None:
    mine, foreign = await waiting(client, llm), await waiting(stranger, llm)
    async with sockets(client) as opened, sockets(stranger) as others:
        watching = await watch(opened, documents.WATCH_STATUS, 3)
        elsewhere = await watch(others, documents.WATCH_STATUS, 3)
        for subscription in watching:
            assert (await subscription.next())["conversationStatusChanged"]["conversation"]["id"] == mine
        for subscription in elsewhere:
            assert (await subscription.next())["conversationStatusChanged"]["conversation"]["id"] == foreign
        await until_followed_by(server, 2)
        await client.execute(documents.STOP, input={"id": mine})
        for subscription in watching:
            assert (await subscription.next())["conversationStatusChanged"]["conversation"]["id"] == mine
        assert await elsewhere[0].is_silent()
        assert await elsewhere[1].is_silent(0.1)


async def chain(subscription: Subscription, changes: int) -> list[str]:
    """The statuses from the snapshot on, each of which the next change names as its predecessor."""
    snapshot = (await subscription.next())["conversationStatusChanged"]
    assert snapshot["previousStatus"] is None
    statuses = [snapshot["conversation"]["status"]]
    moments = [snapshot["occurredAt"]]
    while len(statuses) <= changes:
        change = (await subscription.next())["conversationStatusChanged"]
        assert change["previousStatus"] == statuses[-1]
        statuses.append(change["conversation"]["status"])
        moments.append(change["occurredAt"])
    assert all(earlier <= later for earlier, later in pairwise(moments))
    return statuses


async def test_who_comes_later_begins_with_a_snapshot_and_hears_each_change_once(
    client: Client, llm: ScriptedLLM
) -> None:
    conversation_id = await waiting(client, llm)
    async with sockets(client) as opened:
        coming = list[asyncio.Task[list[str]]]()

        async def come() -> None:
            for number in range(WATCHERS):
                subscription = await opened[number % SOCKETS].subscribe(documents.WATCH_STATUS, ids=[conversation_id])
                coming.append(asyncio.create_task(chain(subscription, 3)))
                await asyncio.sleep(0.01)

        arriving = asyncio.create_task(come())
        while not arriving.done() or not all(task.done() for task in coming):
            await stop_and_start(client, conversation_id)
        heard = await asyncio.gather(*coming)
    assert len(heard) == WATCHERS


async def test_who_leaves_takes_nothing_from_the_others(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    conversation_id = await waiting(client, llm)
    async with client.socket() as remaining:
        async with client.socket() as leaving:
            first = await leaving.subscribe(documents.WATCH_STATUS, ids=[conversation_id])
            await first.next()
            await until_followed_by(server, 1)
            others = [await remaining.subscribe(documents.WATCH_STATUS, ids=[conversation_id]) for _ in range(3)]
            for subscription in others:
                await subscription.next()
            await until_followed_by(server, 1)
        await remaining.connection.send(json.dumps({"id": others[0].id, "type": "complete"}))
        await client.execute(documents.STOP, input={"id": conversation_id})
        for subscription in others[1:]:
            change = (await subscription.next())["conversationStatusChanged"]
            assert change["conversation"]["status"] == "STOPPED"
        assert await others[0].is_silent(0.1)
    await until_followed_by(server, 0)


async def test_a_slow_socket_stalls_nobody_and_hears_everything_in_order(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    conversation_id = await waiting_with_much_text(client, llm)
    variables = {"ids": [conversation_id]}
    async with reluctant(client) as slow, client.subscribe(documents.WATCH_FIRST_MESSAGE, **variables) as reader:
        await slow.send(json.dumps(subscribe("slow", documents.WATCH_FIRST_MESSAGE, variables=variables)))
        assert status(json.loads(await slow.recv())["payload"]["data"]) == "RUNNING"
        await reader.next()
        await until_followed_by(server, 1)
        for _ in range(CYCLES):
            await stop_and_start(client, conversation_id)
            assert [status(await reader.next()) for _ in CYCLE] == CYCLE
        assert max(server.unread_bytes()) > 0
        heard = [status(json.loads(await slow.recv())["payload"]["data"]) for _ in CYCLE * CYCLES]
        assert heard == CYCLE * CYCLES
        # Having heard it all, it is one of them again.
        await until_followed_by(server, 1)
        await client.execute(documents.STOP, input={"id": conversation_id})
        assert status(await reader.next()) == "STOPPED"
        assert status(json.loads(await slow.recv())["payload"]["data"]) == "STOPPED"


async def test_who_was_slow_alone_shares_with_whoever_comes_next(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    conversation_id = await waiting_with_much_text(client, llm)
    variables = {"ids": [conversation_id]}
    async with reluctant(client) as slow:
        await slow.send(json.dumps(subscribe("slow", documents.WATCH_FIRST_MESSAGE, variables=variables)))
        assert status(json.loads(await slow.recv())["payload"]["data"]) == "RUNNING"
        for _ in range(CYCLES):
            await stop_and_start(client, conversation_id)
        heard = [status(json.loads(await slow.recv())["payload"]["data"]) for _ in CYCLE * CYCLES]
        assert heard == CYCLE * CYCLES
        async with client.subscribe(documents.WATCH_FIRST_MESSAGE, **variables) as reader:
            await reader.next()
            await until_followed_by(server, 1)


async def waiting_with_much_text(client: Client, llm: ScriptedLLM) -> str:
    await steps.save_settings(client, llm)
    llm.default = lambda _body: text("Yes")
    conversation = await steps.create(client, "x" * 100_000)
    await steps.until_waiting(client, conversation["id"])
    return str(conversation["id"])


def status(data: JSON) -> str:
    return str(data["conversationStatusChanged"]["conversation"]["status"])


async def test_an_error_in_a_shared_change_is_every_subscribers_and_ends_nothing(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    conversation_id = await waiting(client, llm)
    async with sockets(client) as opened:
        watching = await watch(opened, WATCH_LOG, 3, ids=[conversation_id], last=1000)
        for time in range(3):
            for subscription in watching:
                with pytest.raises(RequestFailed) as raised:
                    await subscription.next()
                [error] = raised.value.errors
                assert error["extensions"]["code"] == "INVALID_INPUT"
                assert error["path"] == ["conversationStatusChanged", "conversation", "events"]
            await until_followed_by(server, 1)
            await client.execute(documents.START if time % 2 else documents.STOP, input={"id": conversation_id})


async def test_many_follow_one_log_as_one_and_end_with_it(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    conversation_id = await waiting(client, llm)
    topic = events_topic(UUID(conversation_id))
    async with sockets(client) as opened:
        watching = await watch(opened, documents.WATCH_EVENTS, id=conversation_id, after="")
        logs = [[await subscription.next() for _ in range(3)] for subscription in watching]
        await until_listeners(server, topic, 1)
        await steps.send(client, conversation_id, "Again")
        for log, subscription in zip(logs, watching, strict=True):
            log += [await subscription.next() for _ in range(3)]
            assert [edge["conversationEvents"]["node"]["sequence"] for edge in log] == [1, 2, 3, 4, 5, 6]
        await client.execute(documents.DELETE, input={"id": conversation_id})
        for subscription in watching:
            assert await subscription.until_end() == []
    await until_listeners(server, topic, 0)


async def test_many_hear_one_answer_while_it_is_written(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    conversation_id = await waiting(client, llm)
    llm.script(text(*"Hello Ada", pause_seconds=0.01))
    async with sockets(client) as opened:
        watching = await watch(opened, documents.WATCH_DELTAS, id=conversation_id)
        await until_listeners(server, deltas_topic(UUID(conversation_id)), 1)
        assert await watching[-1].is_silent()
        await steps.send(client, conversation_id, "Hi")
        for subscription in watching:
            heard = ""
            while heard != "Hello Ada":
                heard += (await subscription.next())["messageDeltas"]["text"]
        await client.execute(documents.DELETE, input={"id": conversation_id})
        for subscription in watching:
            assert await subscription.until_end() == []
