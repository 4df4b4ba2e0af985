"""Operations on a WebSocket: what they answer, and what is left of them when they or their client go."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast
from uuid import uuid4

import pytest
from graphql import get_introspection_query

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import Gate, ScriptedLLM, hold
from tests.support.server import RunningServer, running_server
from tests.support.wire import init, opened, ready, subscribe

JSON = dict[str, Any]
SEND_TIMEOUT_SECONDS = 1.0
WATCH = "subscription { conversationStatusChanged { occurredAt } }"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The protocol is the same on every database, so one will do."""
    with running_server(
        tmp_path_factory.mktemp("data"),
        send_timeout_seconds=SEND_TIMEOUT_SECONDS,
    ) as started:
        yield started


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"query": "{"}, "Syntax Error"),
        ({"query": ""}, "query"),
        ({"query": "{ nothing }"}, "Cannot query field 'nothing'"),
        ({"query": "fragment F on Query { __typename }"}, "no operation of that name"),
        ({"query": "query A { __typename }", "operationName": "B"}, "no operation of that name"),
        ({"query": "query A { __typename } query B { __typename }"}, "name the one to run"),
        ({"query": "subscription A { messageDeltas(conversationId: 1) { text } } query B { __typename }"}, "to run"),
        ({"query": "subscription ($id: ID!) { messageDeltas(conversationId: $id) { text } }"}, "Variable '$id'"),
    ],
)
async def test_an_operation_that_cannot_begin_gets_an_error_and_its_neighbour_lives_on(
    client: Client, payload: JSON, said: str
) -> None:
    await steps.save_settings(client)
    async with ready(client) as wire:
        await wire.send(subscribe("neighbour", WATCH), {"id": "1", "type": "subscribe", "payload": payload})
        refusal = await wire.receive()
        assert (refusal["id"], refusal["type"]) == ("1", "error")
        assert said in refusal["payload"][0]["message"]
        assert "reference" not in refusal["payload"][0].get("extensions", {})
        await steps.create(client)
        assert (await wire.receive())["id"] == "neighbour"


@pytest.mark.parametrize("field", ["conversationEvents", "messageDeltas"])
async def test_a_subscription_to_nothing_says_so(client: Client, field: str) -> None:
    async with ready(client) as wire:
        await wire.send(subscribe("1", f'subscription {{ {field}(conversationId: "{uuid4()}") {{ __typename }} }}'))
        message = await wire.receive()
        (error,) = message["payload"]["errors"] if message["type"] == "next" else message["payload"]
        assert error["extensions"]["code"] == "NOT_FOUND"
        if message["type"] == "next":
            assert await wire.receive() == {"id": "1", "type": "complete"}
        assert await wire.lives()


async def test_queries_and_mutations_run_over_the_socket(client: Client) -> None:
    async with ready(client) as wire:
        settings = {"input": {"llmModel": "demo/assistant"}}
        await wire.send(subscribe("1", documents.UPDATE_SETTINGS, variables=settings))
        answer = await wire.receive()
        assert answer["payload"]["data"]["updateSettings"]["settings"]["llmModel"] == "demo/assistant"
        assert await wire.receive() == {"id": "1", "type": "complete"}
        await wire.send(subscribe("2", "query A { a: __typename } query B { b: __typename }", operationName="B"))
        assert (await wire.receive())["payload"] == {"data": {"b": "Query"}}


async def test_what_was_read_before_is_read_again(client: Client) -> None:
    await steps.save_settings(client)
    conversation = await steps.create(client, title="Before")
    async with ready(client) as wire:
        query = "query ($id: ID!) { node(id: $id) { ... on Conversation { title } } conversation(id: $id) { title } }"
        for title in ("Before", "After"):
            await client.execute(documents.RENAME, input={"id": conversation["id"], "title": title})
            await wire.send(subscribe("1", query, variables={"id": conversation["id"]}))
            read = (await wire.receive())["payload"]["data"]
            assert read == {"node": {"title": title}, "conversation": {"title": title}}
            await wire.receive()


async def test_one_operation_too_many_gets_an_error_and_the_others_live_on(client: Client) -> None:
    await steps.save_settings(client)
    async with ready(client) as wire:
        await wire.send(*(subscribe(str(number), WATCH) for number in range(101)))
        refusal = await wire.receive()
        assert (refusal["id"], refusal["type"]) == ("100", "error")
        assert refusal["payload"][0]["message"] == "Subscription limit reached"
        await steps.create(client)
        # The status changes more than once, and no subscription waits for the others.
        heard = set[str]()
        for _ in range(300):
            heard.add((await wire.receive())["id"])
            if len(heard) == 100:
                break
        assert heard == {str(number) for number in range(100)}
        await wire.send({"id": "7", "type": "complete"}, subscribe("100"))
        while (answer := await wire.receive())["id"] != "100":
            pass
        assert answer["payload"] == {"data": {"__typename": "Query"}}


async def operations_under_way() -> int:
    """How many operations the server carries out just now. Runs in its loop."""
    return sum("run_operation" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def until_operations(server: RunningServer, count: int) -> None:
    """Return once that many operations are under way."""
    async with asyncio.timeout(WAIT_SECONDS):
        while await asyncio.to_thread(server.call, operations_under_way()) != count:  # noqa: ASYNC110  It is another loop's.
            await asyncio.sleep(0.02)


def listeners(wakeups: object) -> int:
    """How many subscriptions wait for a wake-up in the server."""
    topics = cast("dict[str, set[object]]", getattr(wakeups, "_listeners"))  # noqa: B009  A look inside.
    return sum(len(waiting) for topic, waiting in topics.items() if topic.startswith(("events", "deltas", "status")))


async def test_complete_and_the_end_of_a_socket_stop_the_servers_work(client: Client) -> None:
    await steps.save_settings(client)
    conversation = await steps.create(client)
    before = listeners(client.server.parley.wakeups)
    async with ready(client) as wire:
        for number, query in enumerate((documents.WATCH_EVENTS, documents.WATCH_DELTAS, documents.WATCH_STATUS)):
            variables = {"ids": None} if query is documents.WATCH_STATUS else {"id": conversation["id"]}
            await wire.send(subscribe(str(number), query, variables=variables))
        await until_operations(client.server, 3)
        await wire.send({"id": "0", "type": "complete"}, {"id": "2", "type": "complete"})
        await until_operations(client.server, 1)
    await until_operations(client.server, 0)
    assert listeners(client.server.parley.wakeups) == before


async def test_a_client_that_takes_nothing_is_given_up_with_all_its_operations(client: Client) -> None:
    async with opened(client.server, max_queue=1) as wire:
        await wire.send(init(client.token))
        assert await wire.receive() == {"type": "connection_ack"}
        await wire.send(subscribe("watching", WATCH))
        await until_operations(client.server, 1)
        query = get_introspection_query()
        await wire.send(*(subscribe(str(number), query) for number in range(90)))
        # Nothing is read from here on.
        await until_operations(client.server, 0)
        wire.connection.transport.abort()


async def test_pieces_of_an_answer_are_heard_while_it_is_written(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client)
    gate = Gate()
    llm.script(hold(gate, "Hel", after=["lo"]))
    async with client.subscribe(documents.WATCH_DELTAS, id=conversation["id"]) as watching:
        await until_operations(client.server, 1)
        await steps.send(client, conversation["id"], "Hi")
        await gate.reached()
        first = (await watching.next())["messageDeltas"]
        gate.release()
        second = (await watching.next())["messageDeltas"]
    assert first == {"answerId": second["answerId"], "text": "Hel"}
    assert second["text"] == "lo"
