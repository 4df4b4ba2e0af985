"""graphql-transport-ws, frame by frame: how a connection begins, goes on and ends."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from tests.support.client import Client
from tests.support.server import RunningServer, running_server
from tests.support.tokens import hs256_token
from tests.support.wire import PROTOCOL, init, opened, ready, subscribe

JSON = dict[str, Any]
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
