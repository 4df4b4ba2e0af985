"""What HTTP has that no client of this server needs: each is answered or refused, and the connection stays in order."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.endpoints.connections import ConnectionLimits
from app.endpoints.uvicorn.http import http_protocol
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.raw import CHUNKED, START, Raw, assert_nothing_stays, code, connected
from tests.support.server import RunningServer, running_server

HEALTH = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"
LIVE = (200, {"status": "ok"})
BODY = b'{"query": "{ __typename }"}'
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """It needs no database of its own kind: nothing gets that far."""
    with running_server(tmp_path_factory.mktemp("data"), head_timeout_seconds=1.0) as started:
        yield started


@pytest.mark.parametrize(
    "data",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /health/live HTTP/1.7\r\nHost: 127.0.0.1\r\n\r\n",
        HEALTH + b"X: a\r\n b\r\n\r\n",
        HEALTH + b"X: a\r\n\tb\r\n\r\n",
        HEALTH + b"X: a\x00b\r\n\r\n",
        HEALTH + b"X\x00: a\r\n\r\n",
        HEALTH + b"X : a\r\n\r\n",
        HEALTH + b"X: a\rb\r\n\r\n",
        b"GET /health/live\x00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /health/live HTTP/1.1\nHost: 127.0.0.1\n\n",
        b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        START + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        START + b"Content-Length: -1\r\n\r\n",
        START + b"Content-Length: +1\r\n\r\n",
        START + b"Transfer-Encoding: chunked, identity\r\n\r\n",
    ],
    ids=[
        "HTTP/2",
        "HTTP/1.7",
        "folded by a space",
        "folded by a tab",
        "null in a value",
        "null in a name",
        "space before the colon",
        "carriage return alone",
        "null in the address",
        "line feeds alone",
        "tunnel",
        "two kinds of length",
        "two lengths",
        "negative length",
        "length with a sign",
        "two encodings",
    ],
)
async def test_what_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read(
    server: RunningServer, data: bytes
) -> None:
    async with connected(server) as raw:
        await raw.send(data + HEALTH + b"\r\n")
        status, body = await raw.answer()
        assert (status, code(body)) == (400, "BAD_REQUEST")
        assert await raw.reader.read() == b""
    await assert_nothing_stays(server)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /health/live\r\n\r\n",
        b"GET /health/live HTTP/1.0\r\n\r\n",
        b"GET /health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ],
    ids=["HTTP/0.9", "HTTP/1.0", "HTTP/1.0 that would be kept"],
)
async def test_old_versions_are_answered_once(server: RunningServer, data: bytes) -> None:
    async with connected(server) as raw:
        await raw.send(data)
        assert await raw.answer() == LIVE
        assert await raw.is_ended()
    await assert_nothing_stays(server)


async def test_half_a_line_of_an_old_version_is_given_up(server: RunningServer) -> None:
    async with connected(server) as raw:
        await raw.send(b"GET /health/live\r\n")
        assert await raw.is_ended()
    await assert_nothing_stays(server)


async def test_an_upgrade_to_http_2_is_passed_over_and_the_connection_goes_on(server: RunningServer) -> None:
    async with connected(server) as raw:
        for _ in range(3):
            await raw.send(HEALTH + H2C)
            assert await raw.answer() == LIVE
    await assert_nothing_stays(server)


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("piece_bytes", [1, 100_000])
async def test_the_body_of_a_request_that_would_rather_have_http_2_is_read(
    client: Client, piece_bytes: int, is_chunked: bool
) -> None:
    framing = b"Transfer-Encoding: chunked\r\n" if is_chunked else b"Content-Length: %d\r\n" % len(BODY)
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY) if is_chunked else BODY
    token = f"Authorization: Bearer {client.token}\r\nContent-Type: application/json\r\n".encode()
    request = START + token + framing + H2C + body
    both = request + request + HEALTH + b"\r\n"
    async with connected(client.server) as raw:
        for start in range(0, len(both), piece_bytes):
            await raw.send(both[start : start + piece_bytes])
        for _ in range(2):
            assert await raw.answer() == (200, {"data": {"__typename": "Query"}})
        assert await raw.answer() == LIVE


@pytest.mark.parametrize("expected", [b"100-continue", b"101-dalmatians"])
async def test_a_stranger_is_not_told_to_go_on_with_the_body(server: RunningServer, expected: bytes) -> None:
    async with connected(server) as raw:
        head = START + b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(BODY)
        await raw.send(head + b"Expect: " + expected + b"\r\n\r\n")
        status, body = await raw.answer()
        assert (status, code(body)) == (401, "UNAUTHENTICATED")
        # Its body may come yet, and belongs to no request.
        await raw.send(BODY + HEALTH + b"\r\n")
        assert await raw.answer() == LIVE
    await assert_nothing_stays(server)


async def test_a_caller_is_told_to_go_on_with_the_body(server: RunningServer, client: Client) -> None:
    async with connected(server) as raw:
        head = START + b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(BODY)
        await raw.send(head + f"Authorization: Bearer {client.token}\r\nExpect: 100-continue\r\n\r\n".encode())
        async with asyncio.timeout(WAIT_SECONDS):
            assert await raw.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await raw.send(BODY)
        assert await raw.answer() == (200, {"data": {"__typename": "Query"}})


async def test_a_trailer_is_no_header(server: RunningServer, client: Client) -> None:
    async with connected(server) as raw:
        chunk = b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)
        await raw.send(CHUNKED + chunk + f"Authorization: Bearer {client.token}\r\n\r\n".encode() + HEALTH + b"\r\n")
        status, body = await raw.answer()
        assert (status, code(body)) == (401, "UNAUTHENTICATED")
        assert await raw.answer() == LIVE
    await assert_nothing_stays(server)


async def test_requests_of_all_kinds_in_one_piece_are_answered_in_order(server: RunningServer, client: Client) -> None:
    good = START + f"Authorization: Bearer {client.token}\r\nContent-Type: application/json\r\n".encode()
    good += b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    bad = CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"
    async with connected(server) as raw:
        await raw.send((good + bad + HEALTH + b"\r\n") * 5)
        for _ in range(5):
            assert await raw.answer() == (200, {"data": {"__typename": "Query"}})
            assert (await raw.answer())[0] == 401
            assert await raw.answer() == LIVE
    await assert_nothing_stays(server)


WRITE_SECONDS = 0.5
LARGE = b"x" * (16 * 1024 * 1024)


class Large:
    """Answers with 16 MiB, in one piece."""

    def __init__(self) -> None:
        self.begun = 0

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        self.begun += 1
        headers = [(b"content-length", b"%d" % len(LARGE))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": LARGE})


@asynccontextmanager
async def large_answers(limits: ConnectionLimits) -> AsyncGenerator[tuple[Large, uvicorn.Server, Raw]]:
    """A connection to a server whose answers are large."""
    app = Large()
    protocol = http_protocol(limits)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, http=protocol, lifespan="off", interface="asgi3"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  uvicorn has no event to wait for.
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname(), limit=4096)
    yield app, server, Raw(reader, writer)
    writer.close()
    server.should_exit = True
    await serving


async def test_who_does_not_read_a_large_answer_is_cut_off_and_gets_no_second_one() -> None:
    async with large_answers(ConnectionLimits(write_seconds=WRITE_SECONDS)) as (app, server, raw):
        await raw.send(HEALTH + b"\r\n" + (HEALTH + b"\r\n") * 20)
        async with asyncio.timeout(WAIT_SECONDS):
            while server.server_state.connections or server.server_state.tasks:  # noqa: ASYNC110  Nothing tells of it.
                await asyncio.sleep(0.05)
        # The second waits until the first is read, and is never made.
        assert app.begun == 2
        assert await raw.is_ended()


async def test_who_reads_a_large_answer_slowly_gets_all_of_it() -> None:
    async with large_answers(ConnectionLimits(write_seconds=WRITE_SECONDS)) as (app, _server, raw):
        await raw.send(HEALTH + b"\r\n")
        size = 0
        async with asyncio.timeout(WAIT_SECONDS):
            head = await raw.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            while size < len(LARGE):
                size += len(await raw.reader.read(1024 * 1024))
                await asyncio.sleep(0)
        assert (size, app.begun) == (len(LARGE), 1)
