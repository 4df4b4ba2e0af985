"""Before a token nothing costs more than its bytes: what a stranger sends without end is cut off, and nothing stays."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.client import NO_TLS, Client
from tests.server import RunningServer, running_server

JSON = dict[str, Any]
HEAD_BYTES = 8192
MAX_HEADERS = 30
BODY_BYTES = 256 * 1024
CONNECTIONS = 12
WAIT_SECONDS = 20.0
START = b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = START + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """It needs no database of its own kind: nothing gets that far."""
    with running_server(
        tmp_path_factory.mktemp("data"),
        max_head_bytes=HEAD_BYTES,
        max_headers=MAX_HEADERS,
        max_body_bytes=BODY_BYTES,
        max_connections=CONNECTIONS,
        head_timeout_seconds=1.0,
        body_timeout_seconds=3.0,
    ) as started:
        yield started


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
        """How much was sent until the server ended the connection; fails where it took all."""
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
        return server.gate.connections, server.gate.held_bytes

    async with asyncio.timeout(WAIT_SECONDS):
        while await asyncio.to_thread(server.call, seen()) != (0, 0):  # noqa: ASYNC110  Nothing tells of it.
            await asyncio.sleep(0.05)
    assert await is_live(server)


async def is_live(server: RunningServer) -> bool:
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, timeout=WAIT_SECONDS) as http:
        return (await http.get("/health/live")).json() == {"status": "ok"}


def code(body: JSON) -> str:
    return body["errors"][0]["extensions"]["code"]


@pytest.mark.parametrize(
    ("start", "piece", "status", "reason"),
    [
        (START + b"X: ", b"a" * 1024, 431, "REQUEST_HEADER_FIELDS_TOO_LARGE"),
        (START, b"a" * 1024, 431, "REQUEST_HEADER_FIELDS_TOO_LARGE"),
        (START, b"a: b\r\n", 431, "REQUEST_HEADER_FIELDS_TOO_LARGE"),
        (START, b"a: b\r\n" * 4000, 431, "REQUEST_HEADER_FIELDS_TOO_LARGE"),
        (START + b"X: y\r\n", b" folded\r\n", 400, "BAD_REQUEST"),
        (b"GET /", b"a" * 1024, 414, "URI_TOO_LONG"),
        (b"GET /graphql?query=", b"%20" * 100_000, 414, "URI_TOO_LONG"),
        (START + b"no colon\r\n", b"x\r\n", 400, "BAD_REQUEST"),
        (b"", b"\r\n" * 1024, 431, "REQUEST_HEADER_FIELDS_TOO_LARGE"),
        (b"", b"\x16\x03\x01\x02\x00", 400, "BAD_REQUEST"),
        (b"GET / HTTP/1.1 ", b" " * 1024, 400, "BAD_REQUEST"),
    ],
    ids=[
        "value",
        "name",
        "headers",
        "headers in one piece",
        "folded",
        "address",
        "address in one piece",
        "no colon",
        "line ends",
        "TLS",
        "version",
    ],
)
async def test_a_head_without_end_is_refused_and_cut_off(
    server: RunningServer, start: bytes, piece: bytes, status: int, reason: str
) -> None:
    async with connected(server) as raw:
        await raw.send(start)
        for _ in range(4 * HEAD_BYTES // len(piece) + 1):
            await raw.send(piece)
        found = await raw.answer()
        assert (found[0], code(found[1])) == (status, reason)
        assert await raw.is_ended()
    await assert_nothing_stays(server)


async def test_who_goes_on_sending_after_a_refusal_is_cut_off(server: RunningServer) -> None:
    async with connected(server) as raw:
        await raw.send(START + b"X: ")
        await raw.send_until_cut_off(b"a" * 65536, 256 * 1024 * 1024)
    await assert_nothing_stays(server)


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (CHUNKED + b"5;", b"extension"),
        (CHUNKED + b"5;a=", b'"' + b"b" * 1000 + b'";a='),
        (CHUNKED, b"0" * 1000),
        (CHUNKED + b"1\r\nx\r\n0\r\n", b"trailer: value\r\n"),
        (CHUNKED + b"1\r\nx\r\n0\r\ntrailer: ", b"v" * 1000),
        (CHUNKED + b"1\r\nx\r\n", b"1;" + b"e" * 1000 + b"\r\nx\r\n"),
    ],
    ids=["extension", "extensions", "size", "trailers", "trailer", "small chunks"],
)
async def test_chunks_of_framing_without_end_are_cut_off(server: RunningServer, start: bytes, piece: bytes) -> None:
    async with connected(server) as raw:
        await raw.send(start)
        await raw.send_until_cut_off(piece * 16, 64 * 1024 * 1024)
        assert await raw.is_ended()
    await assert_nothing_stays(server)


@pytest.mark.parametrize("start", [b"", b"G", START, START + b"X: y"], ids=["nothing", "a letter", "half", "header"])
async def test_a_head_that_does_not_come_in_time_ends_the_connection(server: RunningServer, start: bytes) -> None:
    async with connected(server) as raw:
        await raw.send(start)
        assert await raw.is_ended()
    await assert_nothing_stays(server)


async def test_a_head_that_trickles_ends_the_connection(server: RunningServer) -> None:
    async with connected(server) as raw:
        await raw.send(START + b"X: ")
        async with asyncio.timeout(WAIT_SECONDS):
            while not raw.reader.at_eof() and await raw.send(b"y"):  # noqa: ASYNC110  It is to come slowly.
                await asyncio.sleep(0.05)
    await assert_nothing_stays(server)


async def test_many_requests_in_one_piece_are_answered_or_end_the_connection(
    server: RunningServer, client: Client
) -> None:
    async with connected(server) as raw:
        await raw.send(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 40)
        assert [await raw.answer() for _ in range(40)] == [(200, {"status": "ok"})] * 40
    async with connected(server) as raw:
        await raw.send(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 4000)
        assert await raw.is_ended()
    assert (await client.post("{ __typename }")).body == {"data": {"__typename": "Query"}}
