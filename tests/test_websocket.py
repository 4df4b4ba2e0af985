"""graphql-transport-ws, frame by frame."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from tests import documents, steps
from tests.client import Client
from tests.scripted_llm import Gate, ScriptedLLM, hold
from tests.server import RunningServer, running_server
from tests.tokens import hs256_token

JSON = dict[str, Any]
PROTOCOL = Subprotocol("graphql-transport-ws")
WAIT_SECONDS = 20.0
INIT_TIMEOUT_SECONDS = 0.5
MAX_FRAME_BYTES = 64 * 1024
WATCH = "subscription { conversationStatusChanged { occurredAt } }"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The protocol is the same on every database, so one will do."""
    with running_server(
        tmp_path_factory.mktemp("data"),
        jwt_leeway_seconds=0,
        max_body_bytes=MAX_FRAME_BYTES,
        websocket_init_timeout_seconds=INIT_TIMEOUT_SECONDS,
    ) as started:
        yield started


class Wire:
    """A connection that sends and takes frames as they are."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, *messages: object) -> None:
        """Send each as JSON, text as it is."""
        for message in messages:
            await self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def receive(self) -> JSON:
        """The next message."""
        async with asyncio.timeout(WAIT_SECONDS):
            return cast("JSON", json.loads(await self.connection.recv()))

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the end, past whatever comes before it."""
        async with asyncio.timeout(WAIT_SECONDS):
            with suppress(ConnectionClosed):
                while True:
                    await self.connection.recv()
        assert self.connection.close_code is not None
        return self.connection.close_code, self.connection.close_reason or ""

    async def lives(self) -> bool:
        """Whether it still answers."""
        await self.send({"type": "ping"})
        return await self.receive() == {"type": "pong"}


@asynccontextmanager
async def opened(server: RunningServer, **options: object) -> AsyncGenerator[Wire]:
    """A connection on which nothing was said yet."""
    given: JSON = {"subprotocols": [PROTOCOL], "max_size": None, "compression": None, **options}
    async with connect(server.socket_url, **given) as connection:
        yield Wire(connection)


@asynccontextmanager
async def ready(client: Client) -> AsyncGenerator[Wire]:
    """A connection that was acknowledged."""
    async with opened(client.server) as wire:
        await wire.send(init(client.token))
        assert await wire.receive() == {"type": "connection_ack"}
        yield wire


def init(token: str) -> JSON:
    return {"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}}


def subscribe(operation_id: str, query: str = "{ __typename }", **payload: object) -> JSON:
    return {"id": operation_id, "type": "subscribe", "payload": {"query": query, **payload}}


async def test_an_operation_is_answered_and_completed(client: Client) -> None:
    async with ready(client) as wire:
        await wire.send(subscribe("1"))
        assert await wire.receive() == {"id": "1", "type": "next", "payload": {"data": {"__typename": "Query"}}}
        assert await wire.receive() == {"id": "1", "type": "complete"}


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "[]",
        "null",
        "5",
        '"ping"',
        "true",
        "{}",
        '{"type": 5}',
        '{"type": null}',
        '{"type": "unknown"}',
        '{"type": "start", "id": "1", "payload": {}}',
        '{"type": "connection_ack"}',
        '{"type": "subscribe"}',
        '{"type": "subscribe", "payload": {"query": "{ a }"}}',
        '{"type": "subscribe", "id": "", "payload": {"query": "{ a }"}}',
        '{"type": "subscribe", "id": 5, "payload": {"query": "{ a }"}}',
        '{"type": "subscribe", "id": null, "payload": {"query": "{ a }"}}',
        json.dumps({"type": "subscribe", "id": "a" * 201, "payload": {"query": "{ a }"}}),
        '{"type": "subscribe", "id": "1"}',
        '{"type": "subscribe", "id": "1", "payload": null}',
        '{"type": "subscribe", "id": "1", "payload": []}',
        '{"type": "subscribe", "id": "1", "payload": "{ a }"}',
        '{"type": "subscribe", "id": "1", "payload": {}}',
        '{"type": "subscribe", "id": "1", "payload": {"query": 5}}',
        '{"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "variables": []}}',
        '{"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "operationName": 5}}',
        '{"type": "complete"}',
        '{"type": "complete", "id": ""}',
        '{"type": "complete", "id": {}}',
        "[" * 20_000,
        b"\x00\x01",
    ],
)
async def test_what_is_no_message_of_the_protocol_closes_4400(client: Client, frame: str | bytes) -> None:
    async with ready(client) as wire:
        await wire.send(frame)
        assert (await wire.closed())[0] == 4400


@pytest.mark.parametrize(
    "frame",
    [
        "[]",
        "null",
        "5",
        "{",
        '{"type": "connection_init", "payload": []}',
        '{"type": "connection_init", "payload": "Bearer x"}',
    ],
)
async def test_so_it_does_before_the_beginning(server: RunningServer, frame: str) -> None:
    async with opened(server) as wire:
        await wire.send(frame)
        assert (await wire.closed())[0] == 4400


async def test_an_operation_before_the_beginning_closes_4401(server: RunningServer) -> None:
    async with opened(server) as wire:
        await wire.send(subscribe("1"))
        assert await wire.closed() == (4401, "Unauthorized")


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        {"Authorization": "Bearer x"},
        {"Authorization": "Basic x"},
        {"Authorization": 5},
        {"Authorization": f"Bearer {hs256_token(exp=1)}"},
        {"token": "x"},
    ],
)
async def test_a_bad_token_closes_4403(server: RunningServer, payload: JSON | None) -> None:
    async with opened(server) as wire:
        await wire.send({"type": "connection_init", "payload": payload}, subscribe("1"))
        assert await wire.closed() == (4403, "Forbidden")


async def test_the_token_may_come_in_either_place(client: Client) -> None:
    header = {"Authorization": f"Bearer {client.token}"}
    for payload in ({"authorization": f"bearer {client.token}"}, {"token": client.token}):
        async with opened(client.server) as wire:
            await wire.send({"type": "connection_init", "payload": payload})
            assert await wire.receive() == {"type": "connection_ack"}
    for message in ({"type": "connection_init"}, {"type": "connection_init", "payload": None}):
        async with opened(client.server, additional_headers=header) as wire:
            await wire.send(message)
            assert await wire.receive() == {"type": "connection_ack"}


async def test_a_socket_ends_with_its_token(client: Client) -> None:
    lives_until = int(datetime.now(UTC).timestamp()) + 2
    async with opened(client.server) as wire:
        await wire.send(init(hs256_token(sub=client.name, exp=lives_until)), subscribe("1", WATCH))
        assert await wire.receive() == {"type": "connection_ack"}
        assert await wire.closed() == (4403, "Token expired")
    assert datetime.now(UTC).timestamp() >= lives_until


@pytest.mark.parametrize("protocols", [[], ["graphql-ws"], ["graphql-transport-wsx"]])
async def test_another_protocol_closes_4406(server: RunningServer, protocols: list[str]) -> None:
    async with opened(server, subprotocols=protocols or None) as wire:
        assert await wire.closed() == (4406, "Subprotocol not acceptable")


async def test_the_protocol_is_chosen_among_several(server: RunningServer) -> None:
    async with opened(server, subprotocols=["graphql-ws", PROTOCOL]) as wire:
        assert wire.connection.subprotocol == PROTOCOL


async def test_who_never_begins_is_closed_4408(server: RunningServer) -> None:
    async with opened(server) as wire:
        assert await wire.closed() == (4408, "Connection initialisation timeout")


async def test_who_began_is_not_closed_for_being_late(client: Client) -> None:
    async with ready(client) as wire:
        await asyncio.sleep(INIT_TIMEOUT_SECONDS * 2)
        assert await wire.lives()


async def test_an_id_in_use_closes_4409(client: Client) -> None:
    async with ready(client) as wire:
        await wire.send(subscribe("1", WATCH), subscribe("1"))
        assert await wire.closed() == (4409, "Subscriber for 1 already exists")


async def test_an_id_may_be_used_again_once_it_is_free(client: Client) -> None:
    async with ready(client) as wire:
        await wire.send(subscribe("1", WATCH), {"id": "1", "type": "complete"}, subscribe("1"))
        assert await wire.receive() == {"id": "1", "type": "next", "payload": {"data": {"__typename": "Query"}}}
        assert await wire.receive() == {"id": "1", "type": "complete"}
        await wire.send(subscribe("1"))
        assert (await wire.receive())["type"] == "next"


async def test_beginning_twice_closes_4429(client: Client) -> None:
    async with ready(client) as wire:
        await wire.send(init(client.token))
        assert await wire.closed() == (4429, "Too many initialisation requests")


async def test_ping_is_answered_and_pong_is_taken(server: RunningServer) -> None:
    async with opened(server) as wire:
        await wire.send({"type": "pong"}, {"type": "pong", "payload": {"a": 1}})
        await wire.send({"type": "ping", "payload": {"a": 1}})
        assert (await wire.receive())["type"] == "pong"


async def test_completing_what_is_not_there_changes_nothing(client: Client) -> None:
    async with ready(client) as wire:
        await wire.send({"id": "unknown", "type": "complete"})
        assert await wire.lives()


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
        heard = {(await wire.receive())["id"] for _ in range(100)}
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
    before = listeners(client.server.house.wakeups)
    async with ready(client) as wire:
        for number, query in enumerate((documents.WATCH_EVENTS, documents.WATCH_DELTAS, documents.WATCH_STATUS)):
            variables = {"ids": None} if query is documents.WATCH_STATUS else {"id": conversation["id"]}
            await wire.send(subscribe(str(number), query, variables=variables))
        await until_operations(client.server, 3)
        await wire.send({"id": "0", "type": "complete"}, {"id": "2", "type": "complete"})
        await until_operations(client.server, 1)
    await until_operations(client.server, 0)
    assert listeners(client.server.house.wakeups) == before


async def test_a_frame_that_is_too_large_ends_the_connection(client: Client) -> None:
    async with ready(client) as wire:
        await wire.send(subscribe("1", "{ __typename }" + " " * MAX_FRAME_BYTES))
        assert (await wire.closed())[0] == 1009


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": Origin("https://evil.example")},
        {"origin": Origin("null")},
        {"additional_headers": {"Sec-Fetch-Site": "cross-site"}},
    ],
)
async def test_a_foreign_page_gets_no_socket(server: RunningServer, headers: JSON) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with opened(server, **headers):
            pass
    assert refused.value.response.status_code == 403


async def test_the_own_page_gets_a_socket(server: RunningServer) -> None:
    async with opened(server, origin=Origin(server.url)) as wire:
        assert await wire.lives()


async def test_a_message_in_fragments_arrives_whole(client: Client) -> None:
    async with ready(client) as wire:
        text = json.dumps(subscribe("1", "{ __typename } # é"), ensure_ascii=False)
        await wire.connection.send([text[:10], text[10:60], text[60:]])
        assert (await wire.receive())["type"] == "next"


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
