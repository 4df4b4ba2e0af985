"""WebSockets of strangers: what they send without end is cut off, and nothing stays."""

import json
from collections.abc import Iterator
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from tests.client import Client
from tests.raw import UPGRADE, assert_nothing_stays, connected
from tests.server import RunningServer, running_server
from tests.wire import init, opened, ready


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """It needs no database of its own kind: nothing gets that far."""
    with running_server(tmp_path_factory.mktemp("data"), websocket_init_timeout_seconds=1.0) as started:
        yield started


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
        await wire.send(json.dumps({"type": "connection_init", "payload": {"a": "b" * 70_000}}))
        assert (await wire.closed())[0] == 1009
    await assert_nothing_stays(server)


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
