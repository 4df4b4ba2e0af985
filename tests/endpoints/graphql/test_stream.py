"""Subscriptions over plain HTTP: server-sent events as graphql-sse has them, and Apollo's multipart."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.services.push.wakeups import events_topic
from tests.support import documents, steps
from tests.support.client import NO_TLS, Client
from tests.support.patience import WAIT_SECONDS
from tests.support.processes import ForkedServer
from tests.support.scripted_llm import ScriptedLLM, text
from tests.support.server import RunningServer, running_server
from tests.support.tokens import hs256_token

JSON = dict[str, Any]
SEND_TIMEOUT_SECONDS = 1.0
EVENT_STREAM = "text/event-stream"
# What Apollo Client sends with subscriptions.
MULTIPART = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json"
WATCH = """
subscription ($id: ID!, $after: String) {
  conversationEvents(conversationId: $id, after: $after) { node { sequence } }
}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """HTTP is the same on every database, so one will do."""
    with running_server(
        tmp_path_factory.mktemp("data"), send_timeout_seconds=SEND_TIMEOUT_SECONDS, heartbeat_seconds=0.05
    ) as started:
        yield started


@asynccontextmanager
async def streamed(
    client: Client, query: str, *, accept: str = EVENT_STREAM, token: str | None = None, **variables: object
) -> AsyncGenerator[httpx.Response]:
    """A response whose body is read as it comes."""
    headers = {"Authorization": f"Bearer {token or client.token}", "Accept": accept}
    async with (
        asyncio.timeout(WAIT_SECONDS),
        httpx.AsyncClient(base_url=client.server.url, timeout=WAIT_SECONDS, verify=NO_TLS) as session,
        session.stream("POST", "/graphql", json={"query": query, "variables": variables}, headers=headers) as response,
    ):
        yield response


async def sent_events(response: httpx.Response) -> AsyncIterator[tuple[str, str]]:
    """The events of a stream as a browser would read them: their names and data."""
    name = data = None
    async for line in response.aiter_lines():
        field, _, value = line.partition(":")
        if field == "event":
            name = value.strip()
        elif field == "data":
            data = value.removeprefix(" ")
        elif not line and name is not None and data is not None:
            yield name, data
            name = data = None


async def parts(response: httpx.Response) -> AsyncIterator[JSON]:
    """The parts of a multipart answer, each as soon as its closing boundary has come, as Apollo Client reads them."""
    buffer = ""
    async for piece in response.aiter_text():
        buffer += piece
        while "\r\n--graphql" in buffer:
            part, _, buffer = buffer.partition("\r\n--graphql")
            head, _, body = part.removeprefix("--graphql").partition("\r\n\r\n")
            assert head.strip() == "Content-Type: application/json"
            yield json.loads(body)
    assert buffer == "--\r\n"


def sequence_of(data: str) -> int:
    """The place in the log of the event that a result holds."""
    sequence = json.loads(data)["data"]["conversationEvents"]["node"]["sequence"]
    assert isinstance(sequence, int)
    return sequence


async def until_watched(server: RunningServer, conversation_id: str, *, is_watched: bool = True) -> None:
    """Return once something in the server waits for the conversation's events, or nothing does."""
    async with asyncio.timeout(WAIT_SECONDS):
        topic = events_topic(UUID(conversation_id))
        while server.parley.wakeups.has_listener(topic) != is_watched:  # noqa: ASYNC110  It is another thread's.
            await asyncio.sleep(0.02)


async def test_results_are_sent_as_events_until_the_subscription_ends(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    # A slow start is told in the log.
    last = len(await steps.events(client, conversation["id"]))
    async with streamed(client, WATCH, id=conversation["id"], after=None) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert (response.headers["cache-control"], response.headers["x-accel-buffering"]) == ("no-store", "no")
        events = sent_events(response)
        await until_watched(client.server, conversation["id"])
        await steps.send(client, conversation["id"], "Hello")
        first = await anext(events)
        assert (first[0], sequence_of(first[1])) == ("next", last + 1)
        await steps.until_waiting(client, conversation["id"])
        await client.execute(documents.DELETE, input={"id": conversation["id"]})
        following = [event async for event in events]
    sequences = [sequence_of(data) for _, data in [first, *following[:-1]]]
    assert sequences == list(range(last + 1, last + len(sequences) + 1))
    assert following[-1] == ("complete", "")


async def test_results_are_sent_as_parts_until_the_subscription_ends(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    # A slow start is told in the log.
    last = len(await steps.events(client, conversation["id"]))
    async with streamed(client, WATCH, accept=MULTIPART, id=conversation["id"], after=None) as response:
        assert response.headers["content-type"] == 'multipart/mixed; boundary="graphql"; subscriptionSpec=1.0'
        found = parts(response)
        await until_watched(client.server, conversation["id"])
        await steps.send(client, conversation["id"], "Hello")
        first = await anext(part async for part in found if part)
        assert first == {"payload": {"data": {"conversationEvents": {"node": {"sequence": last + 1}}}}}
        await client.execute(documents.DELETE, input={"id": conversation["id"]})
        assert all(part == {} or "data" in part["payload"] for part in [part async for part in found])


async def test_an_operation_that_cannot_begin_is_told_in_the_stream(client: Client) -> None:
    query = "subscription { nothing }"
    async with streamed(client, query) as response:
        [(name, data), end] = [event async for event in sent_events(response)]
    assert (name, end) == ("next", ("complete", ""))
    assert "Cannot query field 'nothing'" in json.loads(data)["errors"][0]["message"]
    async with streamed(client, query, accept=MULTIPART) as response:
        [part] = [part async for part in parts(response) if part]
    assert part["payload"] == json.loads(data)


async def test_a_query_whose_client_takes_nothing_else_is_one_event(client: Client) -> None:
    async with streamed(client, "{ __typename }") as response:
        assert [event async for event in sent_events(response)] == [
            ("next", '{"data":{"__typename":"Query"}}'),
            ("complete", ""),
        ]


async def test_a_subscription_is_streamed_in_whichever_way_its_client_takes(client: Client) -> None:
    # What urql sends with subscriptions, and with everything else.
    for accept in (
        "text/event-stream, multipart/mixed",
        "application/graphql-response+json, application/json, text/event-stream, multipart/mixed",
    ):
        async with streamed(client, documents.WATCH_STATUS, accept=accept, ids=None) as response:
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_a_browsers_event_source_may_subscribe_by_get(client: Client) -> None:
    conversation = await steps.save_settings(client) and await steps.create(client)
    address = httpx.URL(
        f"{client.server.url}/graphql",
        params={"query": documents.WATCH_STATUS, "variables": json.dumps({"ids": [conversation["id"]]})},
    )
    headers = {"Authorization": f"Bearer {client.token}", "Accept": EVENT_STREAM}
    async with (
        asyncio.timeout(WAIT_SECONDS),
        httpx.AsyncClient(verify=NO_TLS, timeout=WAIT_SECONDS) as session,
        session.stream("GET", address, headers=headers) as response,
    ):
        name, data = await anext(sent_events(response))
    assert name == "next"
    assert json.loads(data)["data"]["conversationStatusChanged"]["conversation"]["id"] == conversation["id"]


async def test_a_mutation_by_get_is_refused_here_too(client: Client) -> None:
    async with httpx.AsyncClient(base_url=client.server.url, verify=NO_TLS) as session:
        response = await session.get(
            "/graphql",
            params={"query": "mutation { resetSettings { deletedSettingsId } }"},
            headers={"Authorization": f"Bearer {client.token}", "Accept": EVENT_STREAM},
        )
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


async def test_without_a_good_token_nothing_is_streamed(client: Client) -> None:
    async with streamed(client, documents.WATCH_STATUS, token="no-token", ids=None) as response:
        assert (response.status_code, response.headers["content-type"]) == (401, "application/json; charset=utf-8")


@pytest.mark.parametrize(
    ("accept", "sign"), [(EVENT_STREAM, ":"), (MULTIPART, "{}")], ids=["server-sent events", "multipart"]
)
async def test_a_silent_stream_shows_that_it_lives(client: Client, accept: str, sign: str) -> None:
    async with streamed(client, documents.WATCH_STATUS, accept=accept, ids=None) as response:
        lines = response.aiter_lines()
        assert [await anext(line async for line in lines if line == sign) for _ in range(3)] == [sign] * 3


async def test_a_stream_ends_with_its_token(client: Client) -> None:
    def token() -> str:
        return hs256_token(sub=client.name, exp=int(datetime.now(UTC).timestamp()) - 8)

    async with streamed(client, documents.WATCH_STATUS, token=token(), ids=None) as response:
        assert response.status_code == 200
        # Without `complete`, so that the client asks again, and is told 401.
        assert [event async for event in sent_events(response)] == []
    async with streamed(client, documents.WATCH_STATUS, accept=MULTIPART, token=token(), ids=None) as response:
        [part] = [part async for part in parts(response) if part]
    assert part == {
        "payload": None,
        "errors": [{"message": "The token has expired.", "extensions": {"code": "UNAUTHENTICATED"}}],
    }


async def test_a_client_that_leaves_stops_the_servers_work(client: Client) -> None:
    conversation = await steps.save_settings(client) and await steps.create(client)
    async with streamed(client, WATCH, id=conversation["id"], after=None) as response:
        assert response.status_code == 200
        await until_watched(client.server, conversation["id"])
    await until_watched(client.server, conversation["id"], is_watched=False)


async def test_a_client_that_takes_nothing_loses_its_subscription(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.script(*(text("x" * 100_000) for _ in range(40)))
    conversation = await steps.create(client)
    body = json.dumps({"query": documents.WATCH_EVENTS, "variables": {"id": conversation["id"]}}).encode()
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)
    loop = asyncio.get_running_loop()
    with narrow:
        await loop.sock_connect(narrow, ("127.0.0.1", int(client.server.url.rpartition(":")[2])))
        head = (
            "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {client.token}\r\nAccept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        await loop.sock_sendall(narrow, head.encode() + body)
        assert (await loop.sock_recv(narrow, 12)) == b"HTTP/1.1 200"
        # Nothing is read from here on, while the agent's answers come: more than what the system takes meanwhile.
        for _ in range(40):
            await steps.send(client, conversation["id"], "More")
            await steps.until_waiting(client, conversation["id"])
        await until_watched(client.server, conversation["id"], is_watched=False)


async def test_the_end_of_the_server_ends_its_streams_in_good_order(tmp_path: Path) -> None:
    server = ForkedServer(tmp_path / "data")
    try:
        await server.start()
        async with (
            asyncio.timeout(WAIT_SECONDS),
            httpx.AsyncClient(timeout=WAIT_SECONDS, verify=NO_TLS) as session,
            session.stream(
                "POST",
                f"{server.url}/graphql",
                json={"query": documents.WATCH_STATUS, "variables": {"ids": None}},
                headers={"Accept": MULTIPART},
            ) as response,
        ):
            found = parts(response)
            ended = asyncio.create_task(server.end(signal.SIGTERM))
            assert [part async for part in found if part] == [
                {
                    "payload": None,
                    "errors": [
                        {"message": "The server is about to end.", "extensions": {"code": "SERVICE_UNAVAILABLE"}}
                    ],
                }
            ]
        assert await ended == 0
        assert "Traceback" not in server.log()
    finally:
        await server.close()
