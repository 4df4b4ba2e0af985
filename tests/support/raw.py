"""Connections on which bytes go out as they are, for what no client library would send."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.support.client import NO_TLS
from tests.support.patience import WAIT_SECONDS
from tests.support.server import RunningServer

JSON = dict[str, Any]
START = b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\n"
UPGRADE = (
    b"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)
CHUNKED = START + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


class Raw:
    """A connection on which bytes go out as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> bool:
        """Tells whether the other end still took it."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            return False
        return True

    async def send_until_cut_off(self, data: bytes, at_most: int) -> int:
        """Return the number of bytes sent until the server ended the connection; fails if it took all of them."""
        sent = 0
        while sent < at_most:
            if not await self.send(data) or self.reader.at_eof():
                return sent
            await asyncio.sleep(0)
            sent += len(data)
        pytest.fail(f"{sent} bytes were taken")

    async def answer(self) -> tuple[int, JSON]:
        """Status and body of the next answer."""
        async with asyncio.timeout(WAIT_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            length = next(int(line.split(":")[1]) for line in head if line.startswith("content-length"))
            return int(head[0].split()[1]), json.loads(await self.reader.readexactly(length))

    async def is_ended(self) -> bool:
        """Waits for the end, past whatever comes before it."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while await self.reader.read(65536):
                    pass
        except ConnectionError:
            return True
        return True


@asynccontextmanager
async def connected(server: RunningServer) -> AsyncGenerator[Raw]:
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()


async def assert_nothing_stays(server: RunningServer) -> None:
    """All connections end, and no bytes are held; the server answers."""

    async def seen() -> tuple[int, int]:
        return server.gate.connections, server.gate.held_bytes + server.turns.waiting_bytes

    async with asyncio.timeout(WAIT_SECONDS):
        while await asyncio.to_thread(server.call, seen()) != (0, 0):  # noqa: ASYNC110  Nothing tells of it.
            await asyncio.sleep(0.05)
    assert await is_live(server)


async def is_live(server: RunningServer) -> bool:
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, timeout=WAIT_SECONDS) as http:
        return (await http.get("/health/live")).json() == {"status": "ok"}


def code(body: JSON) -> str:
    return body["errors"][0]["extensions"]["code"]
