"""A subscriber that does not read is disconnected, costs little until then, and holds up nobody."""

import asyncio
import json
from collections.abc import Iterator
from uuid import UUID

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from app.services.push.wakeups import events_topic
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import ScriptedLLM, text
from tests.support.server import RunningServer, running_server
from tests.support.wire import reluctant

SEND_TIMEOUT_SECONDS = 1.0
LONG_TEXT = "x" * 100_000
SUBSCRIPTIONS = 90
# What uvicorn's transport takes before ``send`` waits, and one message of 100,000 characters with its frame.
MOST_UNREAD_BYTES = 64 * 1024 + len(LONG_TEXT) + 2000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Sockets are the same on every database, so one will do."""
    with running_server(tmp_path_factory.mktemp("data"), send_timeout_seconds=SEND_TIMEOUT_SECONDS) as started:
        yield started


async def replay_often(connection: ClientConnection, conversation_id: str) -> None:
    """Ask for the whole log, many times at once: 9 MB."""
    for number in range(SUBSCRIPTIONS):
        payload = {"query": documents.WATCH_EVENTS, "variables": {"id": conversation_id, "after": ""}}
        await connection.send(json.dumps({"type": "subscribe", "id": str(number), "payload": payload}))


async def received_code(connection: ClientConnection) -> int | None:
    """Read on until the end: the code that the server closed with; None where it cut the connection off."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                await connection.recv()
    except ConnectionClosed as ended:
        return ended.rcvd.code if ended.rcvd is not None else None


async def until_nobody_listens(server: RunningServer, conversation_id: str) -> None:
    """Return once the server follows the conversation for nobody."""
    topic = events_topic(UUID(conversation_id))
    async with asyncio.timeout(WAIT_SECONDS):
        while server.parley.wakeups.has_listener(topic):  # noqa: ASYNC110  It is another thread's.
            await asyncio.sleep(0.02)


async def test_a_subscriber_that_does_not_read_loses_its_connection_and_others_go_on(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    llm.default = lambda _body: text("Yes")
    conversation = await steps.create(client, LONG_TEXT)
    await steps.until_waiting(client, conversation["id"])
    async with reluctant(client) as connection:
        await replay_often(connection, conversation["id"])
        async with client.subscribe(documents.WATCH_EVENTS, id=conversation["id"]) as reader:
            async with asyncio.timeout(WAIT_SECONDS):
                while sum(server.unread_bytes()) < len(LONG_TEXT):  # noqa: ASYNC110  uvicorn tells nobody.
                    await asyncio.sleep(0.01)
            await steps.send(client, conversation["id"], "Is anybody there?")
            assert (await reader.next())["conversationEvents"]["node"]["text"] == "Is anybody there?"
            assert max(server.unread_bytes()) <= MOST_UNREAD_BYTES
        await until_nobody_listens(server, conversation["id"])
        async with asyncio.timeout(WAIT_SECONDS):
            while server.unread_bytes():  # noqa: ASYNC110  uvicorn tells nobody.
                await asyncio.sleep(0.05)
        assert await received_code(connection) is None


async def test_a_subscriber_that_reads_slowly_gets_everything(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    llm.default = lambda _body: text("Yes")
    conversation = await steps.create(client, LONG_TEXT)
    await steps.until_waiting(client, conversation["id"])
    replayed = list[str]()
    most_unread = 0
    async with reluctant(client) as connection:
        await replay_often(connection, conversation["id"])
        async with asyncio.timeout(WAIT_SECONDS * 2):
            while len(replayed) < SUBSCRIPTIONS:
                message = json.loads(await connection.recv())
                said = message["payload"]["data"]["conversationEvents"]["node"].get("text")
                if said == LONG_TEXT:
                    replayed.append(message["id"])
                    most_unread = max(most_unread, *server.unread_bytes())
                    await asyncio.sleep(0.02)
    assert sorted(map(int, replayed)) == list(range(SUBSCRIPTIONS))
    assert most_unread <= MOST_UNREAD_BYTES
    await until_nobody_listens(server, conversation["id"])


async def test_a_watcher_that_does_not_read_leaves_those_with_whom_it_shares(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    llm.default = lambda _body: text("Yes")
    conversation = await steps.create(client, LONG_TEXT)
    await steps.until_waiting(client, conversation["id"])
    variables = {"ids": [conversation["id"]]}
    async with reluctant(client) as connection, client.subscribe(documents.WATCH_FIRST_MESSAGE, **variables) as reader:
        payload = {"query": documents.WATCH_FIRST_MESSAGE, "variables": variables}
        for number in range(SUBSCRIPTIONS // 3):
            await connection.send(json.dumps({"type": "subscribe", "id": str(number), "payload": payload}))
            async with asyncio.timeout(WAIT_SECONDS):
                await connection.recv()
        await reader.next()
        for expected in ("STOPPED", "STARTING", "RUNNING", "STOPPED", "STARTING", "RUNNING"):
            if expected != "RUNNING":
                document = documents.STOP if expected == "STOPPED" else documents.START
                await client.execute(document, input={"id": conversation["id"]})
            change = (await reader.next())["conversationStatusChanged"]
            assert change["conversation"]["status"] == expected
        async with asyncio.timeout(WAIT_SECONDS):
            while len(server.unread_bytes()) > 1:  # noqa: ASYNC110  uvicorn tells nobody.
                await asyncio.sleep(0.05)
        assert await received_code(connection) is None
        assert await reader.is_silent(0.1)
