"""What one caller may have at once and over time. Others are not held up by it."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from app.endpoints.admission import TokenBuckets, TooMany
from tests.support import documents, steps
from tests.support.client import NO_TLS, Client, RequestFailed
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import Gate, ScriptedLLM, hold
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
BURST = 3
CONNECTIONS = 2
SUBSCRIPTIONS = 3
# Above what other requests take on a busy machine, below the time that a title has.
TIMEOUT_SECONDS = 3.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Admission is the same on every database, so one will do."""
    with running_server(
        tmp_path_factory.mktemp("data"),
        request_timeout_seconds=TIMEOUT_SECONDS,
        max_connections_per_caller=CONNECTIONS,
        max_subscriptions_per_caller=SUBSCRIPTIONS,
    ) as started:
        yield started


@asynccontextmanager
async def streamed(client: Client) -> AsyncGenerator[httpx.Response]:
    """A subscription over server-sent events."""
    headers = {"Authorization": f"Bearer {client.token}", "Accept": "text/event-stream"}
    body = {"query": documents.WATCH_STATUS, "variables": {"ids": None}}
    async with (
        httpx.AsyncClient(base_url=client.server.url, timeout=WAIT_SECONDS, verify=NO_TLS) as session,
        session.stream("POST", "/graphql", json=body, headers=headers) as response,
    ):
        if response.status_code != 200:
            await response.aread()
        yield response


def take_all(buckets: TokenBuckets, caller_id: str) -> None:
    """More than what is refilled meanwhile."""
    for _ in range(50):
        buckets.take(caller_id)


def test_a_bucket_is_empty_after_a_burst_and_each_caller_has_one() -> None:
    buckets = TokenBuckets(per_second=1, burst=50)
    for _ in range(50):
        buckets.take("ada")
    with pytest.raises(TooMany) as refused:
        take_all(buckets, "ada")
    assert refused.value.extensions == {"code": "TOO_MANY_REQUESTS", "retryAfter": 1}
    buckets.take("grace")


async def test_who_sends_too_many_requests_is_told_when_to_come_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running_server(tmp_path_factory.mktemp("data"), rate_limit_per_second=1, rate_limit_burst=BURST) as server:
        async with Client(server) as ada, Client(server) as grace:
            headers = {"Authorization": f"Bearer {ada.token}", "Accept": "application/graphql-response+json"}
            async with httpx.AsyncClient(base_url=server.url, headers=headers, verify=NO_TLS) as http:
                answers = [await http.post("/graphql", json={"query": "{ __typename }"}) for _ in range(20)]
            assert [answer.status_code for answer in answers[:BURST]] == [200] * BURST
            refused = next(answer for answer in answers if answer.status_code == 429)
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["errors"][0]["extensions"] == {"code": "TOO_MANY_REQUESTS", "retryAfter": 1}
            assert await grace.execute("{ __typename }") == {"__typename": "Query"}


async def test_operations_over_a_socket_are_requests_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_server(tmp_path_factory.mktemp("data"), rate_limit_per_second=1, rate_limit_burst=BURST) as server:
        async with Client(server) as client, client.socket() as socket:
            operations = [await socket.subscribe("{ __typename }") for _ in range(20)]
            codes = set[str]()
            for operation in operations:
                try:
                    assert await operation.next() == {"__typename": "Query"}
                except RequestFailed as failed:
                    codes.add(failed.errors[0]["extensions"]["code"])
            assert codes == {"TOO_MANY_REQUESTS"}


async def test_a_caller_has_so_many_connections_of_either_kind_and_no_more(server: RunningServer) -> None:
    async with Client(server) as ada, Client(server) as grace:
        async with ada.socket() as first, streamed(ada) as second:
            assert second.status_code == 200
            with pytest.raises(ConnectionClosed) as closed:
                async with ada.socket():
                    pass
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
                1013,
                "A caller may have 2 connections at once.",
            )
            async with streamed(ada) as refused:
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
                assert refused.json()["errors"][0]["extensions"]["code"] == "TOO_MANY_CONNECTIONS"
            async with grace.socket() as other:
                assert await (await other.subscribe("{ __typename }")).next() == {"__typename": "Query"}
            assert await (await first.subscribe("{ __typename }")).next() == {"__typename": "Query"}
        async with asyncio.timeout(WAIT_SECONDS), AsyncExitStack() as stack:
            for _ in range(CONNECTIONS):
                await until_let_in(stack, ada)


async def until_let_in(stack: AsyncExitStack, client: Client) -> None:
    """Open a connection as soon as there is a place: the server hears of a connection's end a little later."""
    while True:
        try:
            await stack.enter_async_context(client.socket())
        except ConnectionClosed:
            await asyncio.sleep(0.02)
        else:
            return


async def test_a_caller_has_so_many_subscriptions_over_all_its_connections(server: RunningServer) -> None:
    async with Client(server) as client, client.socket() as first, client.socket() as second:
        await steps.save_settings(client)
        await steps.create(client)
        watching = [await socket.subscribe(documents.WATCH_STATUS, ids=None) for socket in (first, first, second)]
        for subscription in watching:
            await subscription.next()
        with pytest.raises(RequestFailed) as refused:
            await (await second.subscribe(documents.WATCH_STATUS, ids=None)).next()
        assert refused.value.errors == [
            {
                "message": "A caller may have 3 subscriptions at once.",
                "extensions": {"code": "TOO_MANY_SUBSCRIPTIONS", "retryAfter": 1},
            }
        ]
        await first.connection.send(f'{{"type": "complete", "id": "{watching[0].id}"}}')
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                try:
                    assert await (await second.subscribe(documents.WATCH_STATUS, ids=None)).next()
                except RequestFailed:
                    await asyncio.sleep(0.02)
                else:
                    break


async def test_a_request_that_takes_too_long_is_given_up(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client, "Hello")
    await steps.until_waiting(client, conversation["id"])
    gate = Gate()
    llm.script(hold(gate), hold(gate))
    rename = {"input": {"id": conversation["id"]}}
    answer = await client.post(documents.RENAME, rename)
    told = {
        "message": "The request took longer than 3 s, and was given up.",
        "extensions": {"code": "REQUEST_TIMED_OUT"},
    }
    assert (answer.status, answer.body) == (503, {"errors": [told]})
    async with client.socket() as socket:
        with pytest.raises(RequestFailed) as failed:
            await (await socket.subscribe(documents.RENAME, **rename)).next()
        assert failed.value.errors == [told]
        assert await (await socket.subscribe("{ __typename }")).next() == {"__typename": "Query"}
    gate.release()
    assert (await steps.get(client, conversation["id"]))["title"] == "A title"
