"""WebSockets of strangers: what they send without end is cut off, and nothing stays."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.raw import UPGRADE, assert_nothing_stays, connected
from tests.support.server import RunningServer, running_server
from tests.support.wire import init, opened, ready, subscribe


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """It needs no database of its own kind: nothing gets that far."""
    with running_server(tmp_path_factory.mktemp("data"), websocket_init_timeout_seconds=1.0) as started:
        yield started


# The longest message before the token, and one that is longer by a byte.
LONGEST = b"x" * 16_384
BIG = LONGEST + b"x"


def frame(opcode: int, payload: bytes = b"") -> bytes:
    """A masked frame; the mask changes nothing."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return bytes([opcode]) + size + bytes(4) + payload


@pytest.mark.parametrize(
    "frames",
    [
        frame(0x89) * 50,
        frame(0x8A) * 50,
        frame(0x01) + frame(0x00) * 50,
        frame(0x02) + frame(0x00) * 50,
        frame(0x81, b'{"type":"ping"}') * 50,
    ],
    ids=["pings", "pongs", "empty fragments", "empty binary fragments", "messages"],
)
async def test_frames_without_end_before_the_token_end_the_socket(server: RunningServer, frames: bytes) -> None:
    async with connected(server) as raw:
        await raw.send(UPGRADE)
        assert b" 101 " in await raw.reader.readuntil(b"\r\n\r\n")
        await raw.send(frames)
        await raw.send_until_cut_off(frames * 100, 64 * 1024 * 1024)
    await assert_nothing_stays(server)


async def test_frames_without_end_behind_a_token_end_the_socket(server: RunningServer, client: Client) -> None:
    async with ready(client) as wire:
        for _ in range(40):
            await wire.connection.ping()
        assert await wire.lives()
        with suppress(ConnectionClosed):
            for _ in range(100_000):
                await wire.connection.ping()
        # The reason is lost where more was under way than the server reads.
        assert await wire.closed() in {(1008, "Too many frames"), (1006, "")}
    await assert_nothing_stays(server)


async def test_a_message_before_the_token_is_small(server: RunningServer) -> None:
    async with opened(server) as wire:
        await wire.send(json.dumps({"type": "connection_init", "payload": {"a": "b" * 20_000}}))
        assert (await wire.closed())[0] == 1009
    await assert_nothing_stays(server)


async def test_a_beginning_as_long_as_allowed_is_taken(server: RunningServer, client: Client) -> None:
    hello = init(client.token)
    hello["payload"]["a"] = "b" * (len(LONGEST) - len(json.dumps(hello)) - len(', "a": ""'))
    assert len(json.dumps(hello)) == len(LONGEST)
    async with opened(server) as wire:
        await wire.send(hello)
        assert await wire.receive() == {"type": "connection_ack"}
        # From then on messages may be longer.
        await wire.send(subscribe("1", "{ __typename }" + " " * len(BIG)))
        assert (await wire.receive())["type"] == "next"


async def test_nothing_is_compressed(server: RunningServer, client: Client) -> None:
    async with opened(server, compression="deflate") as wire:
        assert wire.connection.protocol.extensions == []
        await wire.send(init(client.token))
        assert await wire.receive() == {"type": "connection_ack"}
    async with connected(server) as raw:
        await raw.send(UPGRADE.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"))
        assert b"deflate" not in await raw.reader.readuntil(b"\r\n\r\n")
        await raw.send(b"\xc1" + frame(0x81, b"compressed")[1:])
        assert await raw.is_ended()
    await assert_nothing_stays(server)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (frame(0x81, b'{"id":"1","type":"subscribe","payload":{"query":"{ __typename }"}}'), 4401),
        (frame(0x81, b'{"type":"connection_init","payload":{"a":[' + b"1," * 5_000 + b"1]}}"), 4400),
        (frame(0x81, b"[" * 10_000), 4400),
        (frame(0x81, b"{"), 4400),
        (frame(0x81, b"\xff"), 1007),
        (frame(0x82, LONGEST), 4400),
        (frame(0x82, BIG)[:8], 1009),
        (frame(0x81, BIG)[:8], 1009),
        (frame(0x01, LONGEST) + frame(0x00, b"x"), 1009),
        (b"\xc1" + frame(0x81, b"{}")[1:], 1002),
        (frame(0x81, b"{}")[:1] + b"\x02{}", 1002),
        (frame(0x09, b"a fragment"), 1002),
        (frame(0x89, b"x" * 126), 1002),
        (frame(0x80), 1002),
        (frame(0x83), 1002),
        (frame(0x01, b"{") + frame(0x81, b"{}"), 1002),
        (frame(0x88, b"\x00\x01"), 1002),
        (frame(0x88, b"\x03\xe8" + b"\xff" * 100), 1007),
        (frame(0x88, b"\x03\xe8" + b"r" * 123), 1000),
        (frame(0x88), 1005),
        (b"\x81\xff" + b"\x7f" * 8, 1009),
        (b"\x81\xff" + b"\xff" * 8, 1009),
    ],
    ids=[
        "subscribe first",
        "items",
        "brackets",
        "no JSON",
        "no UTF-8",
        "binary",
        "head of a binary frame",
        "head of a text",
        "fragments",
        "reserved bit",
        "not masked",
        "fragment of a ping",
        "long ping",
        "continuation of nothing",
        "unknown opcode",
        "two messages at once",
        "closing code",
        "closing reason",
        "long reason",
        "no reason",
        "huge length",
        "negative length",
    ],
)
async def test_what_is_no_beginning_ends_the_socket(server: RunningServer, data: bytes, expected: int) -> None:
    async with connected(server) as raw:
        await raw.send(UPGRADE)
        assert b" 101 " in await raw.reader.readuntil(b"\r\n\r\n")
        await raw.send(data)
        first = await asyncio.wait_for(raw.reader.read(2), WAIT_SECONDS)
        if expected != 1005:
            assert first[:1] == b"\x88"
            assert int.from_bytes(await raw.reader.readexactly(2), "big") == expected
        # Whoever does not answer the end of the socket has it all the same.
        assert await raw.is_ended()
    await assert_nothing_stays(server)


@pytest.mark.parametrize("said", [b"", frame(0x89) + frame(0x01, b"{") + b"\x00"], ids=["nothing", "a part"])
async def test_who_never_says_who_he_is_loses_the_socket(server: RunningServer, said: bytes) -> None:
    async with connected(server) as raw:
        await raw.send(UPGRADE + said)
        await raw.send(said)
        assert await raw.is_ended()
    await assert_nothing_stays(server)


async def test_ten_thousand_operations_of_one_id_end_the_socket(server: RunningServer) -> None:
    async with Client(server) as client, ready(client) as wire:
        with suppress(ConnectionClosed):
            for _ in range(10_000):
                await wire.send(subscribe("1", "subscription { conversationStatusChanged { __typename } }"))
        code, reason = await wire.closed()
        assert (code, reason) in {
            (4409, "Subscriber for 1 already exists"),
            (1008, "Too many frames"),
            (1006, ""),
        }
    await assert_nothing_stays(server)


@pytest.mark.parametrize("operation_id", ["", "1" * 201, "1" * 1_000_000])
async def test_an_id_is_short(server: RunningServer, operation_id: str) -> None:
    async with Client(server) as client, ready(client) as wire:
        await wire.send(subscribe(operation_id))
        assert (await wire.closed())[0] == 4400
    await assert_nothing_stays(server)
